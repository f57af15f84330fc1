#!/usr/bin/env node
"use strict"
// A small expression parser: many slashes, few semicolons.
const TOKEN = /\s*(?:(\d+\.?\d*)|(["'`])((?:\\.|(?!\2)[^\\])*)\2|(.))/gy
function* tokens(text) {
  for (const [, number, quote, body, sign] of text.matchAll(TOKEN)) {
    if (number) yield { kind: 'number', value: +number }
    else if (quote) yield { kind: 'string', value: body.replace(/\\(['"`\\/])/g, '$1') }
    else yield { kind: sign, value: null }
  }
}
const BINARY = { '+': (a, b) => a + b, '-': (a, b) => a - b, '*': (a, b) => a * b, '/': (a, b) => a / b }
const rank = (sign) => '+-'.includes(sign) ? 1 : '*/'.includes(sign) ? 2 : 0
function parse(source) {
  const list = [...tokens(source)]
  let at = 0
  const peek = () => list[at]?.kind
  function primary() {
    const { kind, value } = list[at++] ?? {}
    if (kind === '(') { const inner = binary(0); at++; return inner }
    if (kind === '-') return -primary()
    return value
  }
  function binary(least) {
    let left = primary()
    while (rank(peek()) > least) { const sign = list[at++].kind; left = BINARY[sign](left, binary(rank(sign))) }
    return left
  }
  return binary(0)
}
const half = parse('1') / 2, quarter = half /2/ 1
const object = { get if() { return /if'/ }, async await() {}, 'a-b': 1 / 2, [`k${half / 1}`]: /`/, half, ...{} / 1, for: 2 }
const nested = `a${`b${`c${object.if.source / 1}`}` + '}`'}` + "`"
var i = 0; i++ / 2; i
++i
let text = i ? object['a-b'] / 2 : i++ / 2 + '/', async = 1, get = async / 2, set = get /1
try { throw /'/ } catch { /"/.test(text) } finally { text = (/`/, text) }
while (i --> 0) /'/.test(text)
export_: { break export_ }
;(async () => { for await (const part of /'/[Symbol.split]("a'b")) await /"/.exec(part) })()
module.exports = { parse, half, quarter, nested, text: typeof /'/ + void 0 / 1 + `${set}` }

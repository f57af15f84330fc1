// Ordinary programs, each with what it must return. `==== name` begins one, `=> JSON` ends it.
// The tools are those of tests/test_vm.py: echo({value}), add({a, b}), fail({message}), and others.

// ==== arithmetic
return [1 + 2 * 3, 2 ** 10, 7 % 3, -7 % 3, 5 / 2, Math.trunc(-4.7), 0.1 + 0.2, 0xff, 0b101, 1_000];
// => [7, 1024, 1, -1, 2.5, -4, 0.30000000000000004, 255, 5, 1000]

// ==== bitwise and shifts
return [5 & 3, 5 | 3, 5 ^ 3, ~5, 1 << 31, -1 >>> 28, -16 >> 2];
// => [1, 7, 6, -6, -2147483648, 15, -4]

// ==== strings
const s = 'Grüße, Welt 👋';
return [s.length, [...s].length, s.toUpperCase(), s.split(', '), s.slice(-2), s.at(0), 'a-b-c'.replaceAll('-', '+'), 'x'.padStart(3, '·'), ' t '.trim(), 'ab'.repeat(2)];
// => [14, 13, "GRÜSSE, WELT 👋", ["Grüße", "Welt 👋"], "👋", "G", "a+b+c", "··x", "t", "abab"]

// ==== unicode normalisation and code points
return ['é'.normalize('NFD').length, 'é'.normalize('NFC').length, '👋'.codePointAt(0), String.fromCodePoint(128075), 'ﬁ'.normalize('NFKC')];
// => [2, 1, 128075, "👋", "fi"]

// ==== template literals, nested
const items = [{ n: 'a', q: 2 }, { n: 'b', q: 3 }];
return `total: ${items.map((i) => `${i.n}×${i.q}`).join(', ')} = ${items.reduce((t, i) => t + i.q, 0)}`;
// => "total: a×2, b×3 = 5"

// ==== tagged templates
const tag = (strings, ...values) => strings.raw.map((part, i) => part + (values[i] ?? '')).join('|');
return [tag`a${1}b\n${2}`, String.raw`\d+${3}`, (() => { const f = (x) => x; return f`q` === f`q`; })()];
// => ["a1|b\\n2|", "\\d+3", false]

// ==== destructuring and spread
const { a, b: { c = 5, ...rest } = {}, ...others } = { a: 1, b: { d: 2, e: 3 }, f: 4 };
const [x, , y = 9, ...zs] = [1, 2, undefined, 4, 5];
const f = ({ p = 1, q } = {}, ...r) => [p, q, r.length];
return { a, c, rest, others, x, y, zs, f: f({ q: 2 }, 3, 4), merged: { ...{ k: 1 }, ...{ k: 2 } }, swapped: (([m, n]) => [n, m])([1, 2]) };
// => {"a": 1, "c": 5, "rest": {"d": 2, "e": 3}, "others": {"f": 4}, "x": 1, "y": 9, "zs": [4, 5], "f": [1, 2, 2], "merged": {"k": 2}, "swapped": [2, 1]}

// ==== optional chaining and nullish
const o = { a: { b: null } };
let n = null;
n ??= 4;
let z = 0;
z ||= 7;
let t = 1;
t &&= 8;
return [o?.a?.b?.c, o.x?.y, o.f?.(), o.a.b ?? 'default', n, z, t].map((v) => v ?? 'none');
// => ["none", "none", "none", "default", 4, 7, 8]

// ==== closures and counters
const counter = () => { let n = 0; return { inc: () => ++n, get value() { return n; } }; };
const one = counter(), two = counter();
one.inc(); one.inc(); two.inc();
return [one.value, two.value];
// => [2, 1]

// ==== loops and labels
const out = [];
outer: for (let i = 0; i < 5; i++) {
  for (let j = 0; j < 5; j++) {
    if (j === 3) continue outer;
    if (i === 2) break outer;
    out.push(i * 10 + j);
  }
}
let w = 0;
do w++; while (w < 3);
while (w-- > 1);
block: { if (out.length) break block; out.push('never'); }
return [out, w];
// => [[0, 1, 2, 10, 11, 12], 0]

// ==== loop variables are captured one by one
const fs = [];
for (let i = 0; i < 3; i++) fs.push(() => i);
return fs.map((f) => f());
// => [0, 1, 2]

// ==== for-in, for-of, entries
const seen = [];
for (const k in { x: 1, y: 2 }) seen.push(k);
for (const [i, v] of ['p', 'q'].entries()) seen.push(i + v);
for (const [k, v] of Object.entries({ m: 1 })) seen.push(k + v);
for (const ch of 'hé👋') seen.push(ch);
return seen;
// => ["x", "y", "0p", "1q", "m1", "h", "é", "👋"]

// ==== switch
const kind = (v) => { switch (typeof v) { case 'string': return 's'; case 'number': { const r = v > 1; if (r) return 'n>1'; } default: return 'd'; case 'boolean': return 'b'; } };
return [kind('a'), kind(2), kind(0), kind(true), kind(null)];
// => ["s", "n>1", "d", "b", "d"]

// ==== exceptions
const log = [];
const f = () => { try { log.push('try'); throw new TypeError('bad', { cause: 'why' }); } catch ({ name, message, cause }) { log.push(name, message, cause); return 'c'; } finally { log.push('finally'); } };
return [f(), log, (() => { try { return 1; } finally { log.push('f2'); } })(), (() => { try { throw 1; } catch { return 'optional'; } })()];
// => ["c", ["try", "TypeError", "bad", "why", "finally", "f2"], 1, "optional"]

// ==== own error classes
class AppError extends Error {
  constructor(message, options) { super(message, options); this.name = 'AppError'; this.code = 42; }
}
class NotFound extends AppError { get name() { return 'NotFound'; } set name(_) {} }
const e = new AppError('m', { cause: new Error('inner') });
try { throw new NotFound('nf'); } catch (x) { return [e.name, e.message, e.code, e.cause.message, String(e), e instanceof AppError, x instanceof AppError, x.name, String(x), Object.keys(e)]; }
// => ["AppError", "m", 42, "inner", "AppError: m", true, true, "NotFound", "NotFound: nf", ["name", "code"]]

// ==== errors take assignments
const e = new Error('a');
e.message = 'b';
e.name = 'Custom';
e.toString = () => 'mine';
e.extra = 1;
const d = new RangeError('r');
d.message += '!';
return [e.message, e.name, `${e}`, e.extra, d.message, Object.prototype.toString.call(e), Error.isError(e)];
// => ["b", "Custom", "mine", 1, "r!", "[object Error]", true]

// ==== aggregate and suppressed errors
const a = new AggregateError([new Error('x'), 1], 'many');
const r = await Promise.any([Promise.reject(new Error('p')), Promise.reject(2)]).catch((e) => [e.name, e.errors.length, e.errors[0].message]);
return [a.errors.length, a.message, r, new SuppressedError(1, 2, 's').suppressed];
// => [2, "many", ["AggregateError", 2, "p"], 2]

// ==== classes: fields, private, static, accessors
class Account {
  static #made = 0;
  static { Account.bank = 'B'; }
  #balance = 0;
  owner;
  constructor(owner) { this.owner = owner; Account.#made++; }
  deposit(n) { this.#check(n); this.#balance += n; return this; }
  #check(n) { if (n <= 0) throw new RangeError('positive'); }
  get balance() { return this.#balance; }
  set balance(_) { throw new TypeError('read-only'); }
  static get made() { return Account.#made; }
  static is(x) { return #balance in x; }
  ['comp' + 'uted']() { return 1; }
  toString() { return `${this.owner}:${this.#balance}`; }
  toJSON() { return { owner: this.owner, balance: this.#balance }; }
  *[Symbol.iterator]() { yield this.owner; yield this.#balance; }
  static async open(o) { return new Account(o); }
}
const acc = (await Account.open('Ada')).deposit(5).deposit(2);
let msg;
try { acc.balance = 1; } catch (e) { msg = e.message; }
return [acc.balance, `${acc}`, acc, [...acc], Account.made, Account.bank, Account.is({}), Account.is(acc), acc.computed(), msg];
// => [7, "Ada:7", {"owner": "Ada", "balance": 7}, ["Ada", 7], 1, "B", false, true, 1, "read-only"]

// ==== inheritance, super, new.target, mixins
const Loud = (Base) => class extends Base { speak() { return super.speak().toUpperCase(); } };
class Animal { constructor() { this.kind = new.target.name; } speak() { return `i am ${this.kind}`; } static create(...a) { return new this(...a); } }
class Dog extends Loud(Animal) { speak() { return super.speak() + '!'; } }
const o = { __proto__: { hi() { return 'base'; } }, hi() { return super.hi() + '+'; } };
return [Dog.create().speak(), o.hi(), Dog.create() instanceof Animal, Object.getPrototypeOf(Dog.prototype).constructor.name === ''];
// => ["I AM DOG!", "base+", true, true]

// ==== subclasses of built-ins
class Stack extends Array { top() { return this.at(-1); } }
class Count extends Map { inc(k) { return this.set(k, (this.get(k) ?? 0) + 1); } }
class Later extends Promise {}
class Span extends Date { iso() { return this.toISOString().slice(0, 10); } }
const s = Stack.from([1, 2, 3]);
const p = Later.resolve(4).then((v) => v + 1);
return [s.top(), s.map((v) => v * 2) instanceof Stack, s.length, new Count().inc('a').inc('a').get('a'), p instanceof Later, await p, new Span(0).iso()];
// => [3, true, 3, 2, true, 5, "1970-01-01"]

// ==== objects take methods named as built-ins'
const o = {};
o.toString = () => 'T';
o.valueOf = () => 3;
o.hasOwnProperty = 1;
o.constructor = 'c';
function F() {}
F.prototype.toString = function () { return 'F!'; };
F.prototype.constructor = F;
const a = [1];
a.toString = () => 'A';
const f = () => 1;
f.toString = () => 'fn';
return [`${o}`, o + 1, o.hasOwnProperty, o.constructor, `${new F()}`, `${a}`, String(f), Object.keys(o).length];
// => ["T", 4, 1, "c", "F!", "A", "fn", 4]

// ==== old-style constructors
function Point(x, y) { this.x = x; this.y = y; }
Point.prototype.norm = function () { return Math.hypot(this.x, this.y); };
Point.origin = new Point(0, 0);
function Point3(x, y, z) { Point.call(this, x, y); this.z = z; }
Point3.prototype = Object.create(Point.prototype, { constructor: { value: Point3 } });
return [new Point(3, 4).norm(), new Point3(1, 2, 3) instanceof Point, Point.origin.x, new Point3(6, 8, 0).norm(), new Point3(1, 2, 3).constructor.name];
// => [5, true, 0, 10, "Point3"]

// ==== getters, setters, computed keys, symbols
const key = Symbol('k');
const o = { _v: 1, get v() { return this._v; }, set v(n) { this._v = n * 2; }, [key]: 's', [`dyn${1}`]: 2, 3: 'n', async m() { return 1; }, *g() { yield 1; } };
o.v = 5;
return [o.v, o[key], o.dyn1, o['3'], key.description, Symbol.for('a') === Symbol.for('a'), await o.m(), [...o.g()], Object.keys(o)];
// => [10, "s", 2, "n", "k", true, 1, [1], ["3", "_v", "v", "dyn1", "m", "g"]]

// ==== object helpers
const o = Object.freeze({ a: 1, n: { b: 2 } });
return [Object.isFrozen(o), Object.fromEntries(Object.entries({ x: 1, y: 2 }).map(([k, v]) => [k, v * 10])), Object.assign({}, { q: 1 }, null, { q: 2 }), Object.hasOwn(o, 'a'), Object.is(NaN, NaN), Object.groupBy([1, 2, 3], (n) => (n % 2 ? 'odd' : 'even')), Object.getOwnPropertyNames('ab'), structuredClone(o)];
// => [true, {"x": 10, "y": 20}, {"q": 2}, true, true, {"odd": [1, 3], "even": [2]}, ["0", "1", "length"], {"a": 1, "n": {"b": 2}}]

// ==== a frozen object refuses assignment
const o = Object.freeze({ a: 1 });
try { o.a = 2; return 'assigned'; } catch (e) { return [e instanceof TypeError, o.a]; }
// => [true, 1]

// ==== proxies and Reflect
const log = [];
const p = new Proxy({ a: 1 }, { get(t, k, r) { if (typeof k === 'string') log.push(k); return Reflect.get(t, k, r) ?? `no ${String(k)}`; }, has: (t, k) => k.startsWith('a') });
return [p.a, p.b, 'abc' in p, 'b' in p, log, Reflect.ownKeys({ z: 1, [Symbol.iterator]: 2 }).length, Reflect.construct(Date, [0]).getTime(), Reflect.apply(Math.max, null, [1, 3])];
// => [1, "no b", true, false, ["a", "b"], 2, 0, 3]

// ==== arrays
const a = [3, 1, 2];
return [a.toSorted(), a.toReversed(), a.with(0, 9), a.toSpliced(1, 1), a.at(-1), a.findLast((x) => x > 1), a.findLastIndex((x) => x === 3), [1, [2, [3, [4]]]].flat(Infinity), [1, 2].flatMap((x) => [x, x]), a.includes(2), Array.from({ length: 3 }, (_, i) => i * i), Array.of(7), [...a].sort((x, y) => y - x), a.indexOf(2), a.copyWithin(0, 1), a.fill(0, 2), a.join('-'), a.some((x) => x === 2), a.every(Number.isInteger), [1, 2, 3].reduceRight((t, x) => t + x, '')];
// => [[1, 2, 3], [2, 1, 3], [9, 1, 2], [3, 2], 2, 2, 0, [1, 2, 3, 4], [1, 1, 2, 2], true, [0, 1, 4], [7], [3, 2, 1], 2, [1, 2, 0], [1, 2, 0], "1-2-0", true, true, "321"]

// ==== array mutation
const a = [1, 2, 3];
const spliced = a.splice(1, 1, 'x', 'y');
a.push(4);
a.unshift(0);
const shown = a.join();
const ends = [a.pop(), a.shift(), a.length];
a.reverse();
a.length = 2;
return [shown, spliced, ends, a, [, 1].length, [7, 8].entries().next().value, delete a[5]];
// => ["0,1,x,y,3,4", [2], [4, 0, 4], [3, "y"], 2, [0, 7], true]

// ==== sorting is stable and by code unit
const rows = [{ k: 'b', n: 1 }, { k: 'a', n: 2 }, { k: 'b', n: 3 }, { k: 'a', n: 4 }];
return [rows.sort((x, y) => (x.k < y.k ? -1 : x.k > y.k ? 1 : 0)).map((r) => r.n), [10, 9, 1].sort(), ['b', 'a', 'C'].sort(), ['b', 'a', 'C'].sort((x, y) => x.localeCompare(y)).length];
// => [[2, 4, 1, 3], [1, 10, 9], ["C", "a", "b"], 3]

// ==== maps and sets
const m = new Map([['a', 1]]).set('b', 2);
const g = Map.groupBy([1, 2, 3, 4], (n) => (n % 2 ? 'odd' : 'even'));
const s = new Set([1, 2, 2, 3]);
const w = new WeakMap(), k = {};
w.set(k, 'v');
return [[...m], m.size, m.has('a'), [...m.keys()], Object.fromEntries(g), [...s], s.has(2), w.get(k), new WeakSet([k]).has(k), [...m].map(([x]) => x), m.delete('a'), m];
// => [[["a", 1], ["b", 2]], 2, true, ["a", "b"], {"odd": [1, 3], "even": [2, 4]}, [1, 2, 3], true, "v", true, ["a", "b"], true, {"b": 2}]

// ==== set methods
const a = new Set([1, 2, 3]), b = new Set([2, 3, 4]);
return [a.union(b), a.intersection(b), a.difference(b), a.symmetricDifference(b), a.isSubsetOf(b), new Set([2]).isSubsetOf(a), a.isSupersetOf(new Set([1])), a.isDisjointFrom(new Set([9]))];
// => [[1, 2, 3, 4], [2, 3], [1], [1, 4], false, true, true, true]

// ==== generators
function* fib() { let [a, b] = [0, 1]; for (;;) { yield a; [a, b] = [b, a + b]; } }
function* two() { const got = yield 1; yield* [got, got]; return 'end'; }
const first = []; for (const n of fib()) { if (n > 20) break; first.push(n); }
const g = two(); const steps = [g.next(), g.next('x'), g.next(), g.next(), g.next()].map(({ value, done }) => [value ?? null, done]);
const r = (function* () { try { yield 1; yield 2; } finally { first.push('cleanup'); } })();
r.next(); const returned = r.return(7);
const thrower = (function* () { try { yield 1; } catch (e) { yield 'caught ' + e; } })(); thrower.next();
return [first, steps, returned, thrower.throw('boom').value];
// => [[0, 1, 1, 2, 3, 5, 8, 13, "cleanup"], [[1, false], ["x", false], ["x", false], ["end", true], [null, true]], {"value": 7, "done": true}, "caught boom"]

// ==== async generators
async function* pages() { for (let i = 1; i <= 3; i++) yield await tools.echo({ value: i * 10 }); }
const got = [];
for await (const page of pages()) { if (page === 30) break; got.push(page); }
const it = pages(); await it.next(); await it.return();
return [got, (await it.next()).done, await Array.fromAsync(pages()), await Array.fromAsync([1, Promise.resolve(2)], (x) => x * 2)];
// => [[10, 20], true, [10, 20, 30], [2, 4]]

// ==== iterator helpers
const naturals = function* () { for (let i = 1; ; i++) yield i; };
return [naturals().filter((n) => n % 2).map((n) => n * n).drop(1).take(3).toArray(), naturals().take(4).reduce((a, b) => a + b), [1, 2].values().flatMap((x) => [x, x]).toArray(), naturals().some((n) => n > 3), [1, 2].values().every((n) => n > 0), naturals().find((n) => n > 5), Iterator.from({ next: () => ({ done: true }) }).toArray(), [...new Set([5]).values().map(String)]];
// => [[9, 25, 49], 10, [1, 1, 2, 2], true, true, 6, [], ["5"]]

// ==== own iterables
class Range { constructor(a, b) { this.a = a; this.b = b; } *[Symbol.iterator]() { for (let i = this.a; i < this.b; i++) yield i; } }
const it = { from: 1, [Symbol.iterator]() { let n = this.from; return { next: () => (n < 4 ? { value: n++, done: false } : { value: undefined, done: true }), [Symbol.iterator]() { return this; } }; } };
const [p, ...q] = new Range(0, 4);
return [[...new Range(1, 4)], Math.max(...new Range(0, 9)), [...it], p, q, Array.from(it, (x) => x + 1), new Set(it).size];
// => [[1, 2, 3], 8, [1, 2, 3], 0, [1, 2, 3], [2, 3, 4], 3]

// ==== using
const log = [];
{
  using a = { [Symbol.dispose]() { log.push('a'); } };
  using b = { [Symbol.dispose]() { log.push('b'); } };
  log.push('body');
}
await (async () => { await using c = { async [Symbol.asyncDispose]() { log.push(await tools.echo({ value: 'c' })); } }; })();
const stack = new DisposableStack(); stack.defer(() => log.push('deferred')); stack.dispose();
return log;
// => ["body", "b", "a", "c", "deferred"]

// ==== regular expressions
const m = /(?<year>\d{4})-(?<month>\d\d)/u.exec('on 2024-05-06');
return [m.groups.year, m.index, '2024-05'.replace(/(?<y>\d+)-(?<m>\d+)/, '$<m>/$<y>'), [...'a1b22'.matchAll(/[a-z](\d+)/g)].map((x) => x[1]), 'aBc'.replace(/b/i, (x) => `[${x}]`), 'one, two;three'.split(/[,;]\s*/), /(?<=\$)\d+/.exec('cost $42')[0], /^\p{Lu}/u.test('Éa'), 'x'.search(/y/), /a.c/s.test('a\nc'), 'aaa'.lastIndexOf('a'), /(\w)\1/.test('hello'), /[\p{L}--[a-z]]/v.test('A'), /a/y.sticky];
// => ["2024", 3, "05/2024", ["1", "22"], "a[B]c", ["one", "two", "three"], "42", true, -1, true, 2, true, true, true]

// ==== regular expression state
const r = /o/g; const found = []; let m;
while ((m = r.exec('foo boo')) !== null) found.push([m.index, r.lastIndex]);
return [found, r.lastIndex, new RegExp('a+', 'gi').source, RegExp('x').flags, RegExp.escape('a.b')];
// => [[[1, 2], [2, 3], [5, 6], [6, 7]], 0, "a+", "", "\\x61\\.b"]

// ==== numbers
return [Number('12.5'), parseInt('42px'), parseInt('ff', 16), parseFloat('3.14abc'), (1234.5678).toFixed(2), (255).toString(16), (0.000001234).toString(), (1e21).toString(), (25).toPrecision(1), (12345).toExponential(2), Number.isSafeInteger(2 ** 53), Number.EPSILON > 0, isNaN('x'), +'0x10', Number.MAX_SAFE_INTEGER, (1234567.891).toLocaleString()];
// => [12.5, 42, 255, 3.14, "1234.57", "ff", "0.000001234", "1e+21", "3e+1", "1.23e+4", false, true, true, 16, 9007199254740991, "1234567.891"]

// ==== math
return [Math.max(), Math.max(1, 3, 2), Math.round(-0.5) === 0, Math.sign(-3), Math.hypot(3, 4), Math.clz32(1), Math.fround(5.5), Math.imul(3, 4), Math.log2(8), Math.floor(-1.5), Math.abs(-2), Math.min(...[4, 2])].map((v) => (Number.isFinite(v) ? v : String(v)));
// => ["-Infinity", 3, "true", -1, 5, 31, 5.5, 12, 3, -2, 2, 2]

// ==== random numbers are in range
const v = Array.from({ length: 1000 }, Math.random);
return [v.every((x) => x >= 0 && x < 1), new Set(v).size > 990, Math.abs(v.reduce((a, b) => a + b) / 1000 - 0.5) < 0.05];
// => [true, true, true]

// ==== big integers
const fact = (n) => (n < 2n ? 1n : n * fact(n - 1n));
return [String(fact(25n)), (2n ** 100n).toString(16), String(-7n / 2n), String(-7n % 3n), 10n > 9, 1n == 1, typeof 1n, Number(123n), String(BigInt('0xff')), String(BigInt.asUintN(8, 257n)), String(5n & 3n), (123n).toLocaleString(), 2n > 1n && !0n];
// => ["15511210043330985984000000", "10000000000000000000000000", "-3", "-1", true, true, "bigint", 123, "255", "1", "1", "123", true]

// ==== JSON
const text = JSON.stringify({ b: [1, { c: null }], u: undefined, d: new Date(0), m: { toJSON: () => 'J' } }, null, 1);
return [JSON.parse(text), JSON.parse('[1,2]', (k, v) => (Array.isArray(v) ? v : v * 2)), JSON.stringify({ a: 1, b: 2 }, ['b']), JSON.stringify('\u2028"\n'), JSON.stringify([undefined, () => 1]), JSON.stringify({ k: 'x' }, (k, v) => (k ? v + '!' : v)), text.split('\n').length];
// => [{"b": [1, {"c": null}], "d": "1970-01-01T00:00:00.000Z", "m": "J"}, [2, 4], "{\"b\":2}", "\"\u2028\\\"\\n\"", "[null,null]", "{\"k\":\"x!\"}", 10]

// ==== JSON.parse reports what is wrong
try { JSON.parse('{bad'); } catch (e) { return [e.name, e instanceof SyntaxError, e.message.length > 0]; }
// => ["SyntaxError", true, true]

// ==== dates are in UTC
const d = new Date('2024-02-29T13:14:15.678Z');
const later = new Date(d); later.setDate(later.getDate() + 1); later.setMonth(0);
return [d.getHours(), d.getUTCHours(), d.getTimezoneOffset(), d.toISOString(), d.getDay(), new Date(2024, 0, 31, 10).toISOString(), Date.UTC(2024, 0, 1), Date.parse('2024-01-01'), Date.parse('2024-01-01T00:00'), Date.parse('2024-01-01T00:00+02:00'), later.toISOString(), JSON.stringify({ d }), Number.isNaN(new Date('nope').getTime()), d - new Date(0), d.toString().slice(0, 33), new Date(2024, 1, 30).getDate()];
// => [13, 13, 0, "2024-02-29T13:14:15.678Z", 4, "2024-01-31T10:00:00.000Z", 1704067200000, 1704067200000, 1704067200000, 1704060000000, "2024-01-01T13:14:15.678Z", "{\"d\":\"2024-02-29T13:14:15.678Z\"}", true, 1709212455678, "Thu Feb 29 2024 13:14:15 GMT+0000", 1]

// ==== Date is a class like any other
const d = new Date();
return [d instanceof Date, typeof Date(), Date.length, Date.name, d.constructor === Date, Object.prototype.toString.call(d), `${+d === d.valueOf()}`, typeof (d + 1), d > new Date(0), new Date(d).getTime() === d.getTime(), Date.now() === d.getTime()];
// => [true, "string", 7, "Date", true, "[object Date]", "true", "string", true, true, true]

// ==== typed arrays and buffers
const u = new Uint8Array([1, 2, 300]);
const dv = new DataView(new ArrayBuffer(8)); dv.setFloat32(0, 1.5); dv.setInt16(4, -2, true);
return [Array.from(u), Array.from(new Float32Array([0.5, 1]).map((x) => x * 2)), dv.getFloat32(0), dv.getInt16(4, true), u.buffer.byteLength, Array.from(u.subarray(1)), [...new Uint16Array(new Uint8Array([1, 2]).buffer)], u.constructor.name, Array.from(new Uint8Array([3, 1, 2]).sort()), u.toHex?.() ?? 'none', ArrayBuffer.isView(u)];
// => [[1, 2, 44], [1, 2], 1.5, -2, 3, [2, 44], [513], "Uint8Array", [1, 2, 3], "01022c", true]

// ==== encoding
const bytes = new TextEncoder().encode('aé€👋');
return [Array.from(bytes), new TextDecoder().decode(bytes), btoa('hello'), atob('aGVsbG8='), encodeURIComponent('a b&ü'), decodeURIComponent('%C3%BC'), encodeURI('http://x/ö?q=1'), escape('ü'), unescape('%FC')];
// => [[97, 195, 169, 226, 130, 172, 240, 159, 145, 139], "aé€👋", "aGVsbG8=", "hello", "a%20b%26%C3%BC", "ü", "http://x/%C3%B6?q=1", "%FC", "ü"]

// ==== promises
const order = [];
const p = Promise.resolve().then(() => order.push('micro'));
order.push('sync');
queueMicrotask(() => order.push('queued'));
await p; await null;
const { promise, resolve } = Promise.withResolvers();
setTimeout(resolve, 1, 'timer');
const settled = await Promise.allSettled([1, Promise.reject(new Error('r'))]);
return [order, await promise, settled.map((s) => s.status), await Promise.race([new Promise(() => {}), Promise.resolve('fast')]), await Promise.any([Promise.reject(1), Promise.resolve(2)]), await Promise.try(() => 5), await Promise.all(new Set([1, Promise.resolve(2)])), await Promise.reject(3).catch((x) => x + 1).finally(() => 'ignored')];
// => [["sync", "micro", "queued"], "timer", ["fulfilled", "rejected"], "fast", 2, 5, [1, 2], 4]

// ==== thenables and async functions
const thenable = { then(ok) { ok(7); } };
const af = async (x) => { if (x) throw new Error('af'); return thenable; };
const results = [await thenable, await af(false)];
try { await af(true); } catch (e) { results.push(e.message); }
const arrow = async () => { await null; return (() => typeof tools)(); };
results.push(await (async function named() { return named.name; })(), await arrow());
return results;
// => [7, 7, "af", "named", "object"]

// ==== calls one after another and together
const one = await tools.add({ a: 1, b: 2 });
const many = await Promise.all([1, 2, 3].map((n) => tools.add({ a: n, b: one })));
const { a, b } = { a: await tools.echo({ value: 'x' }), b: (await tools.echo({ value: { k: [1] } })).k[0] };
return { one, many, a, b, sum: many.reduce((x, y) => x + y) };
// => {"one": 3, "many": [4, 5, 6], "a": "x", "b": 1, "sum": 15}

// ==== tools as first-class functions
const { echo, add } = tools;
const call = (name, args) => tools[name](args);
return [await echo({ value: 1 }), await call('add', { a: 2, b: 3 }), typeof tools.add, tools.add.name, 'add' in tools, Object.keys(tools).includes('add'), await Promise.all(['p', 'q'].map((value) => echo({ value })))];
// => [1, 5, "function", "add", true, true, ["p", "q"]]

// ==== errors of tools are errors
try { await tools.fail({ message: 'no luck' }); } catch (e) {
  return [e instanceof Error, e.name, e.message.includes('no luck'), e.retryable, e.category, typeof e.details, Object.keys(e)];
}
// => [true, "ToolExecutionError", true, false, "PERMANENT", "object", []]

// ==== retry with backoff
let tries = 0;
const retry = async (f, n) => { for (let i = 0; ; i++) { try { return await f(); } catch (e) { tries++; if (i >= n) throw e; await new Promise((r) => setTimeout(r, i)); } } };
const r = await retry(() => (tries < 2 ? tools.fail({ message: 'x' }) : tools.echo({ value: 'ok' })), 5);
return [r, tries];
// => ["ok", 2]

// ==== a worker pool
const jobs = [1, 2, 3, 4, 5, 6, 7]; const results = [];
const worker = async () => { while (jobs.length) { const j = jobs.shift(); results[j] = await tools.add({ a: j, b: 100 }); } };
await Promise.all([worker(), worker(), worker()]);
return results.slice(1);
// => [101, 102, 103, 104, 105, 106, 107]

// ==== results are frozen, copies are not
const r = await tools.echo({ value: { list: [1, 2], o: {} } });
const copy = structuredClone(r); copy.list.push(3);
const spread = { ...r, list: [...r.list, 9] };
let caught;
try { r.list.push(3); } catch (e) { caught = e instanceof TypeError; }
return [caught, copy.list, spread.list, r.list.map((x) => x * 2), Object.isFrozen(r.o), r.list.toSorted((a, b) => b - a)];
// => [true, [1, 2, 3], [1, 2, 9], [2, 4], true, [2, 1]]

// ==== timers fire in order
const log = [];
await new Promise((done) => {
  setTimeout(() => log.push('c'), 6);
  setTimeout(() => log.push('a'), 1);
  setTimeout((x, y) => log.push(x + y), 3, 'b', '!');
  clearTimeout(setTimeout(() => log.push('never'), 2));
  setTimeout(done, 9);
});
return log;
// => ["a", "b!", "c"]

// ==== timeouts with race
const timeout = (ms) => new Promise((_, no) => setTimeout(() => no(new Error('too slow')), ms));
const fast = await Promise.race([tools.echo({ value: 'fast' }), timeout(5000)]);
const slow = await Promise.race([new Promise(() => {}), timeout(1)]).catch((e) => e.message);
return [fast, slow];
// => ["fast", "too slow"]

// ==== events by hand
class Emitter { #on = new Map(); on(n, f) { (this.#on.get(n) ?? this.#on.set(n, []).get(n)).push(f); return () => this.#on.set(n, this.#on.get(n).filter((g) => g !== f)); } emit(n, ...a) { for (const f of this.#on.get(n) ?? []) f(...a); } }
const e = new Emitter(); const got = []; const off = e.on('x', (v) => got.push(v)); e.on('x', (v) => got.push(-v)); e.emit('x', 1); off(); e.emit('x', 2);
return got;
// => [1, -1, -2]

// ==== memoise, compose, curry, debounce-like
const memo = (f) => { const cache = {}; return (n) => (cache[n] ??= f(n)); };
const fib = memo((n) => (n < 2 ? n : fib(n - 1) + fib(n - 2)));
const pipe = (...fs) => (x) => fs.reduce((v, f) => f(v), x);
const curry = (f) => function c(...a) { return a.length >= f.length ? f(...a) : (...b) => c(...a, ...b); };
return [fib(60), pipe((x) => x + 1, (x) => x * 2)(3), curry((a, b, c) => a + b + c)(1)(2, 3), ((...a) => a.length)(...'abc'), (function () { return arguments.length; })(1, 2)];
// => [1548008755920, 8, 6, 3, 2]

// ==== a table from CSV
const csv = 'name,qty,price\nbolt,10,0.5\nnut,20,0.25\n"a, b",1,2';
const parse = (line) => [...line.matchAll(/("([^"]*)"|[^,]+)(?:,|$)/g)].map((m) => m[2] ?? m[1]);
const [head, ...rows] = csv.split('\n').map(parse);
const data = rows.map((r) => Object.fromEntries(r.map((v, i) => [head[i], isNaN(v) ? v : +v])));
return { data, total: data.reduce((t, { qty, price }) => t + qty * price, 0) };
// => {"data": [{"name": "bolt", "qty": 10, "price": 0.5}, {"name": "nut", "qty": 20, "price": 0.25}, {"name": "a, b", "qty": 1, "price": 2}], "total": 12}

// ==== trees and recursion
const tree = { v: 1, kids: [{ v: 2, kids: [{ v: 4 }] }, { v: 3 }] };
const sum = ({ v, kids = [] }) => v + kids.map(sum).reduce((a, b) => a + b, 0);
function* walk(n, d = 0) { yield '  '.repeat(d) + n.v; for (const k of n.kids ?? []) yield* walk(k, d + 1); }
const depth = (n) => 1 + Math.max(0, ...(n.kids ?? []).map(depth));
return [sum(tree), [...walk(tree)], depth(tree), (function down(n) { return n ? down(n - 1) : 'bottom'; })(1000)];
// => [10, ["1", "  2", "    4", "  3"], 3, "bottom"]

// ==== the comma, void, typeof, in, delete, exponent
let i = 0;
const o = { a: 1 };
return [(i++, i++, i), void 0 === undefined, typeof undeclared, 'a' in o, delete o.a, 'a' in o, (-2) ** 2, typeof null, typeof class {}, !!'' + 1, [] + {}, [1, 2] == '1,2', null == undefined, NaN !== NaN];
// => [2, true, "undefined", true, true, false, 4, "object", "function", 1, "[object Object]", true, true, true]

// ==== hoisting and scope
const r = [typeof hoisted, (() => { try { tdz; } catch (e) { return e.name; } let tdz = 1; return tdz; })(), (() => { var v = 1; { var v = 2; } return v; })()];
function hoisted() {}
return r;
// => ["function", "ReferenceError", 2]

// ==== strict mode
try { undeclaredName = 1; return 'sloppy'; } catch (e) { return [e.name, (function () { return this === undefined; })()]; }
// => ["ReferenceError", true]

// ==== functions describe themselves
function named(a, b = 1, ...c) { return a; }
return [named.length, named.name, (() => {}).name, named.toString().startsWith('function named'), named instanceof Object, named.bind(null, 1).name, named.call(null, 5), named.apply(null, [6])];
// => [1, "named", "", true, true, "bound named", 5, 6]

// ==== well-known symbols
const o = { [Symbol.toPrimitive]: (hint) => hint, get [Symbol.toStringTag]() { return 'Mine'; } };
class Even { static [Symbol.hasInstance](n) { return n % 2 === 0; } }
return [`${o}`, +{ [Symbol.toPrimitive]: () => 3 }, Object.prototype.toString.call(o), 2 instanceof Even, [].concat({ length: 1, 0: 'x', [Symbol.isConcatSpreadable]: true })];
// => ["string", 3, "[object Mine]", true, ["x"]]

// ==== AbortController with a plain promise
const c = new AbortController();
const wait = (signal) => new Promise((ok, no) => { signal.throwIfAborted(); signal.addEventListener('abort', () => no(signal.reason), { once: true }); });
setTimeout(() => c.abort(new Error('stop')), 1);
return [await wait(c.signal).catch((e) => e.message), c.signal.aborted, c.signal instanceof AbortSignal];
// => ["stop", true, true]

// ==== clones
const d = new Date(5), m = new Map([[{ k: 1 }, new Set([1])]]), cyc = { d, m, r: /a/gi, u: new Uint8Array([1, 2]), e: new RangeError('r'), un: undefined, big: 5n, nested: [[1]] };
cyc.self = cyc;
const c = structuredClone(cyc);
return [c !== cyc, c.self === c, c.d.getTime(), c.d !== d, [...c.m.keys()][0].k, [...c.m.values()][0].has(1), String(c.r), [...c.u], c.e instanceof RangeError, c.e.message, 'un' in c, c.big === 5n, c.nested];
// => [true, true, 5, true, 1, true, "/a/gi", [1, 2], true, "r", true, true, [[1]]]

// ==== globalThis and this
return [typeof globalThis, globalThis.Math === Math, typeof globalThis.tools, 'fetch' in globalThis, typeof Intl];
// => ["object", true, "object", false, "undefined"]

// ==== comments, ASI, odd spacing
const a = 1 // line
/* block
*/ const b = 2
;[a, b].forEach(() => {})
const c = a
  + b
return [a, b, c]
// => [1, 2, 3]

// ==== strings become numbers
return [Number(''), Number(' 12 '), Number(null), Number([5]), +true, '5' * '2', '5' + 2, '3' - 1, ['10', '10', '10'].map(parseInt).map(String)];
// => [0, 12, 0, 5, 1, 10, "52", 2, ["10", "NaN", "2"]]

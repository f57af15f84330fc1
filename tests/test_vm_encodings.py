"""Copies and encodings: structuredClone, TextEncoder, TextDecoder, atob, btoa."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

pytestmark = pytest.mark.anyio


async def returns(scripts: Any, table: dict[str, Any], **settings: Any) -> None:
    wanted = {source: scripts.returns(value) for source, value in table.items()}
    assert await scripts.mismatches(wanted, **settings) == []


# ── clones ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("VM-016")
async def test_structured_clone(scripts):
    await returns(
        scripts,
        {
            "const o = { a: [1, { b: null }], u: undefined }; const c = structuredClone(o); "
            "return [c, c.a !== o.a, 'u' in c, Object.isFrozen(structuredClone(await tools.echo({ value: { x: 1 } })))]": [
                *[{"a": [1, {"b": None}]}, True, True, False]
            ],
            "const o = { k: 1 }; o.self = o; o.list = [o]; const c = structuredClone(o); "
            "return [c.self === c, c.list[0] === c, c !== o]": [True, True, True],
            "const s = {}; const [a, b] = structuredClone([s, s]); return a === b": True,
            "const m = new Map(); m.set('self', m); const c = structuredClone(m); return c.get('self') === c": True,
            "let o = {}; for (let i = 0; i < 100000; i++) o = { o }; let c = structuredClone(o), n = 0; "
            "while (c.o) { c = c.o; n++ } return n": 100_000,
            "const c = structuredClone([, 1]); return [0 in c, c.length]": [False, 2],
            "const c = structuredClone([new Number(5), Object('s'), Object(true), Object(1n)]); "
            "return [typeof c[0], c[0] + 1, c[1] + '!', c[2].valueOf(), c[3] + 1n === 2n]": [
                *["object", 6, "s!", True, True]
            ],
            "const e = structuredClone(Object.assign(new TypeError('m', { cause: [1] }), { x: 1 })); "
            "return [e instanceof TypeError, e.message, e.cause, e.x === undefined]": [True, "m", [1], True],
            "const e = structuredClone(new DOMException('m', 'AbortError')); "
            "return [e.name, e.message, e instanceof DOMException]": ["AbortError", "m", True],
            "const b = new ArrayBuffer(8); const c = structuredClone({ u: new Uint8Array(b, 2, 3), v: new DataView(b) }); "
            "return [c.u.length, c.u.byteOffset, c.u.buffer === c.v.buffer, c.u.buffer !== b]": [3, 2, True, True],
            "class P { x = 1; get y() { return 2 } }; const c = structuredClone(new P()); return [c instanceof P, c]": [
                False,
                {"x": 1},
            ],
            "structuredClone(1, null); structuredClone(1, {}); structuredClone(1, { transfer: [] }); return 'fine'": "fine",
            """const refused = [() => 1, Symbol('s'), [Symbol.iterator], { f() {} }, new WeakMap(), Promise.resolve(1),
              [].values(), AbortSignal.abort(), tools.echo()];
            return refused.map((v) => { try { structuredClone(v); return 'cloned' } catch (e) { return e.name } })""": [
                "DataCloneError"
            ]
            * 9,
            "try { structuredClone({ get a() { throw new RangeError('g') } }) } catch (e) { return e.message }": "g",
            "try { structuredClone(1, { transfer: [new ArrayBuffer(1)] }) } catch (e) { return e.name }": "DataCloneError",
        },
    )


# ── encodings ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("VM-016")
async def test_text_encoder_and_decoder(scripts):
    texts = ["", "plain", "äöü €", "👋🏽 e\u0301", "\u0000\u007f\u0080\u07ff\u0800\uffff\U00010000\U0010ffff"]
    invalid = [
        b"\xff",
        b"\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x91",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"a\xf5b",
        b"\xe2(\xa1",
        b"\xf4\x90\x80\x80",
    ]
    execution = await scripts.one(
        f"const texts = {json.dumps(texts)}, invalid = {[list(data) for data in invalid]};\n"
        "const d = new TextDecoder(), e = new TextEncoder();\n"
        "return [texts.map((t) => [...e.encode(t)]), texts.map((t) => d.decode(e.encode(t))), "
        "invalid.map((b) => d.decode(Uint8Array.from(b)))]"
    )
    assert execution.value == [
        [list(text.encode()) for text in texts],
        texts,
        [data.decode(errors="replace") for data in invalid],
    ]
    await returns(
        scripts,
        {
            "return new TextDecoder().decode(Uint8Array.of(0xef, 0xbb, 0xbf, 65))": "A",
            "return new TextDecoder('UTF-8', { ignoreBOM: true }).decode(Uint8Array.of(0xef, 0xbb, 0xbf, 65)).length": 2,
            "try { new TextDecoder(' utf8 ', { fatal: true }).decode(Uint8Array.of(255)) } catch (e) { return e.name }": (
                "TypeError"
            ),
            "try { new TextDecoder('latin1') } catch (e) { return e.name }": "RangeError",
            "return [new TextDecoder().decode(), new TextDecoder('utf-8', null).encoding]": ["", "utf-8"],
            "return [null, 'x', 5].map((x) => { try { new TextDecoder().decode(x) } catch (e) { return e.name } })": [
                "TypeError"
            ]
            * 3,
            "return new TextDecoder().decode(new DataView(Uint8Array.of(65, 66, 67).buffer, 1, 2))": "BC",
            "const u = new Uint8Array(4); const r = new TextEncoder().encodeInto('a€👋', u); return [r, [...u]]": [
                {"read": 2, "written": 4},
                [97, 226, 130, 172],
            ],
            "return [...new TextEncoder().encode('\\ud800')]": [239, 191, 189],
            "return new TextEncoder().encode('é'.repeat(1e5)).length": 200_000,
        },
    )


@pytest.mark.requirement("VM-016")
async def test_base64(scripts):
    data = bytes(range(256))
    encoded = base64.b64encode(data).decode()
    await returns(
        scripts,
        {
            "return btoa(String.fromCharCode(...Array(256).keys()))": encoded,
            f"return [...atob('{encoded}')].map((c) => c.charCodeAt(0))": list(data),
            "return [atob(' aGk \\n'), atob(''), btoa('')]": ["hi", "", ""],
            "try { atob('a*b') } catch (e) { return [e.name, e instanceof DOMException] }": [
                "InvalidCharacterError",
                True,
            ],
            "try { btoa('€') } catch (e) { return e.name }": "InvalidCharacterError",
            "return [atob.name, atob.length, btoa.name]": ["atob", 1, "btoa"],
        },
    )

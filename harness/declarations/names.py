"""Names in TypeScript: which can stand as they are, which have to be quoted, which belong to somebody else."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Mapping
from typing import Any

from harness.declarations.reading import mapping, sequence

__all__ = ["RESERVED_TYPES", "access", "call_form", "literal", "member", "type_name"]

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")
_NO_IDENTIFIER = re.compile(r"[^A-Za-z0-9_$]+")
# As the first word of a member, TypeScript would take `new(…)` for a constructor.
_QUOTED_MEMBERS = frozenset({"new"})

_KEYWORDS = """
any as async await bigint boolean break case catch class const continue debugger default delete do else enum export
extends false finally for function if implements import in infer instanceof integer interface is keyof let never new
null number object package private protected public readonly return static string super switch symbol this throw true
try type typeof undefined unique unknown var void while with yield
"""
_OF_THE_LANGUAGE = """
AggregateError AggregateErrorConstructor Array ArrayBuffer ArrayBufferConstructor ArrayBufferLike ArrayBufferTypes
ArrayBufferView ArrayConstructor ArrayIterator ArrayLike AsyncDisposable AsyncDisposableStack
AsyncDisposableStackConstructor AsyncGenerator AsyncGeneratorFunction AsyncGeneratorFunctionConstructor AsyncIterable
AsyncIterableIterator AsyncIterator AsyncIteratorObject Atomics Awaited BigInt BigInt64Array BigInt64ArrayConstructor
BigIntConstructor BigIntToLocaleStringOptions BigUint64Array BigUint64ArrayConstructor Boolean BooleanConstructor
BuiltinIteratorReturn CallableFunction Capitalize ClassAccessorDecoratorContext ClassAccessorDecoratorResult
ClassAccessorDecoratorTarget ClassDecorator ClassDecoratorContext ClassFieldDecoratorContext
ClassGetterDecoratorContext ClassMemberDecoratorContext ClassMethodDecoratorContext ClassSetterDecoratorContext
ConcatArray ConstructorParameters DataView DataViewConstructor Date DateConstructor DecoratorContext
DecoratorMetadata DecoratorMetadataObject Disposable DisposableStack DisposableStackConstructor Error
ErrorConstructor ErrorOptions EvalError EvalErrorConstructor Exclude Extract FinalizationRegistry
FinalizationRegistryConstructor FlatArray Float16Array Float16ArrayConstructor Float32Array Float32ArrayConstructor
Float64Array Float64ArrayConstructor Function FunctionConstructor Generator GeneratorFunction
GeneratorFunctionConstructor IArguments ImportAssertions ImportAttributes ImportCallOptions ImportMeta InstanceType
Int16Array Int16ArrayConstructor Int32Array Int32ArrayConstructor Int8Array Int8ArrayConstructor Intl Iterable
IterableIterator Iterator IteratorObject IteratorObjectConstructor IteratorResult IteratorReturnResult
IteratorYieldResult JSON Lowercase Map MapConstructor MapIterator Math MethodDecorator NewableFunction NoInfer
NonNullable Number NumberConstructor Object ObjectConstructor Omit OmitThisParameter ParameterDecorator Parameters
Partial Pick Promise PromiseConstructor PromiseConstructorLike PromiseFulfilledResult PromiseLike
PromiseRejectedResult PromiseSettledResult PromiseWithResolvers PropertyDecorator PropertyDescriptor
PropertyDescriptorMap PropertyKey Proxy ProxyConstructor ProxyHandler RangeError RangeErrorConstructor Readonly
ReadonlyArray ReadonlyMap ReadonlySet ReadonlySetLike Record ReferenceError ReferenceErrorConstructor Reflect RegExp
RegExpConstructor RegExpExecArray RegExpIndicesArray RegExpMatchArray RegExpStringIterator Required ReturnType Set
SetConstructor SetIterator SharedArrayBuffer SharedArrayBufferConstructor String StringConstructor StringIterator
SuppressedError SuppressedErrorConstructor Symbol SymbolConstructor SyntaxError SyntaxErrorConstructor
TemplateStringsArray Temporal ThisParameterType ThisType TypeError TypeErrorConstructor TypedPropertyDescriptor
URIError URIErrorConstructor Uint16Array Uint16ArrayConstructor Uint32Array Uint32ArrayConstructor Uint8Array
Uint8ArrayConstructor Uint8ClampedArray Uint8ClampedArrayConstructor Uncapitalize Uppercase WeakKey WeakKeyTypes
WeakMap WeakMapConstructor WeakRef WeakRefConstructor WeakSet WeakSetConstructor
"""
_OF_THE_SURROUNDINGS = """
AbortController AbortEvent AbortListener AbortSignal CallBudget CallError CallErrorName CallOptions Console
DOMException ScriptContext TextDecoder TextEncoder ToolDescription ToolSummary
"""

RESERVED_TYPES = frozenset(f"{_KEYWORDS} {_OF_THE_LANGUAGE} {_OF_THE_SURROUNDINGS}".split())
"""Names no type of a tool may have: a second declaration would clash with TypeScript's own, or change its meaning."""


def literal(text: str) -> str:
    """A string as a literal that stands on one line, whatever is in it."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def member(name: str) -> str:
    """How a property or a method is declared: ``name`` or ``"get-item"``."""
    return name if _IDENTIFIER.match(name) and name not in _QUOTED_MEMBERS else literal(name)


def access(name: str) -> str:
    """How a script reaches a tool: ``tools.fs.read``, ``tools["get-item"]``."""
    parts = (f".{part}" if _IDENTIFIER.match(part) else f"[{literal(part)}]" for part in name.split("."))
    return "tools" + "".join(parts)


def call_form(name: str, parameters: Mapping[str, Any]) -> str:
    """A call with the names of its arguments: ``tools.fs.read({path, limit?})``."""
    required = sequence(parameters.get("required"))
    members = ", ".join(
        member(key) if key in required else f"{member(key)}?" for key in mapping(parameters.get("properties"))
    )
    return f"{access(name)}({{{members}}})" if members else f"{access(name)}()"


def type_name(wanted: str, taken: Container[str]) -> str:
    """An identifier for a type that should be called ``wanted``: ``List[int]`` → ``List_int``, ``Date`` → ``Date_2``."""
    name = _NO_IDENTIFIER.sub("_", wanted).strip("_") or "Type"
    if name[0].isdigit():
        name = f"_{name}"
    candidate, count = name, 1
    while candidate in RESERVED_TYPES or candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate

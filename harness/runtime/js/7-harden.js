// Takes away what makes code from text, what is not deterministic and what blocks, and what shows the inside of this
// prelude. 7-intrinsics.js freezes what is left.

// ── evaluators ───────────────────────────────────────────────────────────────────────────────────────────────────

// `f.constructor` stays a function, so that `instanceof Function` and `f.constructor.name` work, but it makes nothing.
const powerless = (name, prototype) => {
  const constructor = function () {
    throw new NativeTypeError(`${name}: code cannot be made from text here; write the function in the script`);
  };
  defineProperty(constructor, 'name', { __proto__: null, value: name });
  defineProperty(constructor, 'length', { __proto__: null, value: 1 });
  defineProperty(constructor, 'prototype', { __proto__: null, value: prototype, writable: false });
  defineProperty(prototype, 'constructor', {
    __proto__: null, ...getOwnPropertyDescriptor(prototype, 'constructor'), value: constructor,
  });
  return constructor;
};
const functionKinds = [
  ['Function', Function.prototype],
  ['AsyncFunction', getPrototypeOf(async () => {})],
  ['GeneratorFunction', getPrototypeOf(function* () {})],
  ['AsyncGeneratorFunction', getPrototypeOf(async function* () {})],
];
for (const [name, prototype] of functionKinds) {
  const constructor = powerless(name, prototype);
  if (prototype === Function.prototype) global('Function', constructor);
}

// Only the engine makes an InternalError, so that running out of memory cannot be imitated.
powerless('InternalError', InternalErrorPrototype);

// ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────

// What may stay on the global object. Anything else goes, whatever engine brings it: `eval`, `SharedArrayBuffer` and
// `Atomics` (which block), `WeakRef` and `FinalizationRegistry` (which show when memory is collected), `performance`
// (which shows the machine's clock), and what nobody has looked at yet.
const KEPT = new NativeSet([
  'AggregateError', 'Array', 'ArrayBuffer', 'AsyncDisposableStack', 'BigInt', 'BigInt64Array', 'BigUint64Array', 'Boolean',
  'DOMException', 'DataView', 'Date', 'DisposableStack', 'Error', 'EvalError', 'Float16Array', 'Float32Array',
  'Float64Array', 'Function', 'Infinity', 'Int16Array', 'Int32Array', 'Int8Array', 'Iterator', 'JSON', 'Map', 'Math', 'NaN',
  'Number', 'Object', 'Promise', 'Proxy', 'RangeError', 'ReferenceError', 'Reflect', 'RegExp', 'Set', 'String',
  'SuppressedError', 'Symbol', Symbol.toStringTag, 'SyntaxError', 'TypeError', 'URIError', 'Uint16Array', 'Uint32Array',
  'Uint8Array', 'Uint8ClampedArray', 'WeakMap', 'WeakSet', 'decodeURI', 'decodeURIComponent', 'encodeURI',
  'encodeURIComponent', 'escape', 'globalThis', 'isFinite', 'isNaN', 'parseFloat', 'parseInt', 'undefined', 'unescape',
  // Made by this prelude:
  'AbortController', 'AbortSignal', 'TextDecoder', 'TextEncoder', 'atob', 'btoa', 'clearTimeout', 'console', 'context',
  'progress', 'queueMicrotask', 'setTimeout', 'structuredClone', 'tools',
]);
for (const name of ownKeys(globalThis)) if (!setHas(KEPT, name)) delete globalThis[name];

// ── stacks ───────────────────────────────────────────────────────────────────────────────────────────────────────

// prepareStackTrace would hand out this prelude's own functions; a large limit would cost time and memory.
const STACK_LIMIT = 16;
const locked = (object, name, value) =>
  defineProperty(object, name, { __proto__: null, value, writable: false, enumerable: false, configurable: false });
locked(NativeError, 'prepareStackTrace', undefined);
NativeError.stackTraceLimit = STACK_LIMIT; // the engine notes the assignment, not the property
locked(NativeError, 'stackTraceLimit', STACK_LIMIT);

const cleanStack = (raw) => (typeof raw === 'string' ? stackText(scriptFrames(raw, STACK_LIMIT)) : undefined);
const stackAccessor = {
  get stack() {
    return cleanStack(rawStack(this));
  },
  set stack(value) {
    if (typeof this !== 'object' || this === null) throw new NativeTypeError('stack belongs to an error');
    hidden(this, 'stack', value);
  },
};
defineProperty(NativeError.prototype, 'stack', {
  __proto__: null,
  ...getOwnPropertyDescriptor(stackAccessor, 'stack'),
  enumerable: false,
});
const nativeCapture = NativeError.captureStackTrace;
hidden(
  NativeError,
  'captureStackTrace',
  {
    captureStackTrace(object, above) {
      const carrier = {};
      apply(nativeCapture, NativeError, typeof above === 'function' ? [carrier, above] : [carrier]);
      hidden(object, 'stack', cleanStack(carrier.stack));
    },
  }.captureStackTrace,
);

// A DOMException carries its stack as a property of its own, written when it is made.
const withCleanStack = (error) => {
  hidden(error, 'stack', cleanStack(error.stack));
  return error;
};
const DOMExceptionHere = function DOMException(...list) {
  if (new.target === undefined) throw new NativeTypeError('DOMException must be called with new');
  return withCleanStack(
    construct(NativeDOMException, list, new.target === DOMExceptionHere ? NativeDOMException : new.target),
  );
};
for (const key of ownKeys(NativeDOMException)) {
  defineProperty(DOMExceptionHere, key, {
    __proto__: null,
    ...getOwnPropertyDescriptor(NativeDOMException, key),
  });
}
hidden(NativeDOMException.prototype, 'constructor', DOMExceptionHere);
global('DOMException', DOMExceptionHere);
for (const name of ['atob', 'btoa']) {
  const native = globalThis[name];
  const wrapped = {
    wrapped(...list) {
      try {
        return apply(native, undefined, list);
      } catch (error) {
        if (typeof error === 'object' && error !== null && getPrototypeOf(error) === NativeDOMException.prototype) {
          throw withCleanStack(error);
        }
        throw error;
      }
    },
  }.wrapped;
  defineProperty(wrapped, 'name', { __proto__: null, value: name });
  defineProperty(wrapped, 'length', { __proto__: null, value: 1 });
  global(name, wrapped);
}

// ── sources ──────────────────────────────────────────────────────────────────────────────────────────────────────

// A function of this prelude prints as those of the engine do, and nothing tells where it stands.
const functionLine = getterOf(Function.prototype, 'lineNumber'); // undefined of what was not compiled from text
hidden(
  Function.prototype,
  'toString',
  {
    toString() {
      if (typeof this !== 'function' || !(functionLine(this) >= FIRST_PRELUDE_LINE)) return functionToString(this);
      const name = getOwnPropertyDescriptor(this, 'name');
      const shown = name !== undefined && typeof name.value === 'string' ? name.value : '';
      return arrayJoin(['function ', shown, '() {\n    [native code]\n}'], '');
    },
  }.toString,
);
for (const key of ['fileName', 'lineNumber', 'columnNumber']) delete Function.prototype[key];

// ── per-execution globals ────────────────────────────────────────────────────────────────────────────────────────

const current = { __proto__: null, tools: undefined, context: undefined };
const currentAccessors = {
  get tools() {
    return current.tools;
  },
  get context() {
    return current.context;
  },
};
for (const name of ['tools', 'context']) {
  defineProperty(globalThis, name, {
    __proto__: null,
    get: getOwnPropertyDescriptor(currentAccessors, name).get,
    set: undefined,
    enumerable: true,
    configurable: false,
  });
}

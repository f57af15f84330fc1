// Takes away what makes code from text, what is not deterministic and what blocks; then freezes everything that is
// left, so that no script can change what another script, or this prelude, finds.

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
    __proto__: null, value: constructor, writable: false, enumerable: false, configurable: false,
  });
  return constructor;
};
const functionKinds = [
  ['Function', Function.prototype],
  ['AsyncFunction', getPrototypeOf(async () => {})],
  ['GeneratorFunction', getPrototypeOf(function* () {})],
  ['AsyncGeneratorFunction', getPrototypeOf(async function* () {})],
];
const powerlessConstructors = [];
for (const [name, prototype] of functionKinds) {
  powerlessConstructors[powerlessConstructors.length] = powerless(name, prototype);
}
global('Function', powerlessConstructors[0]);

// Only the engine makes an InternalError, so that running out of memory cannot be imitated.
powerless('InternalError', InternalErrorPrototype);

const REMOVED = ['eval', 'InternalError', 'SharedArrayBuffer', 'Atomics', 'WeakRef', 'FinalizationRegistry', 'performance'];
for (const name of REMOVED) delete globalThis[name];

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
  if (key === 'length' || key === 'name') continue;
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

// ── every intrinsic there is ─────────────────────────────────────────────────────────────────────────────────────

// Those without a global name, reached through syntax and through values.
const unnamedIntrinsics = () => {
  const found = [];
  const add = (value) => {
    found[found.length] = value;
  };
  for (const [, prototype] of functionKinds) add(prototype);
  add(getPrototypeOf(function* () {}.prototype));
  add(getPrototypeOf(async function* () {}.prototype));
  for (const iterator of [
    [].values(), new NativeMap().entries(), new NativeSet().values(), ''[Symbol.iterator](), 'a'.matchAll(/a/g),
    [].values().map((x) => x), Iterator.from({ next() {} }),
  ]) {
    add(getPrototypeOf(iterator));
  }
  // `callee` of strict arguments is an accessor that throws.
  add(getOwnPropertyDescriptor((function () { return arguments; })(), 'callee').get);
  add(InternalErrorPrototype);
  add(ToolPromise);
  for (const constructor of powerlessConstructors) add(constructor);
  return found;
};

// Every object reachable from the roots through properties, accessors and prototypes.
const reachable = () => {
  const seen = new NativeSet();
  const queue = [globalThis];
  for (const root of unnamedIntrinsics()) queue[queue.length] = root;
  const visit = (value) => {
    if ((typeof value === 'object' && value !== null) || typeof value === 'function') queue[queue.length] = value;
  };
  const order = [];
  for (let i = 0; i < queue.length; i++) {
    const object = queue[i];
    if (setHas(seen, object)) continue;
    setAdd(seen, object);
    order[order.length] = object;
    visit(getPrototypeOf(object));
    const keys = ownKeys(object);
    for (let k = 0; k < keys.length; k++) {
      const descriptor = getOwnPropertyDescriptor(object, keys[k]);
      visit(descriptor.value);
      visit(descriptor.get);
      visit(descriptor.set);
    }
  }
  return order;
};

// ── the override mistake ─────────────────────────────────────────────────────────────────────────────────────────

// A frozen prototype's data property forbids assignment on everything that inherits it: `err.message = …` would throw.
// As an accessor that defines the property on the object assigned to, it does not.
const enableOverride = (prototype, name) => {
  const descriptor = getOwnPropertyDescriptor(prototype, name);
  if (descriptor === undefined || !descriptor.configurable || !('value' in descriptor)) return;
  const { value } = descriptor;
  const accessor = {
    get [name]() {
      return value;
    },
    set [name](replacement) {
      if (this === prototype || (typeof this !== 'object' && typeof this !== 'function') || this === null) {
        throw new NativeTypeError(`${name} of a built-in is read-only`);
      }
      if (!shown(this, name, replacement)) throw new NativeTypeError(`'${name}' is read-only`);
    },
  };
  defineProperty(prototype, name, {
    __proto__: null,
    ...getOwnPropertyDescriptor(accessor, name),
    enumerable: descriptor.enumerable,
    configurable: false,
  });
};

const overridable = (objects) => {
  const entirely = [ObjectPrototype, Function.prototype];
  for (const object of objects) {
    if (typeof object === 'object' && (object === NativeError.prototype || isPrototypeOf(NativeError.prototype, object))) {
      entirely[entirely.length] = object;
    }
  }
  for (const prototype of entirely) {
    for (const name of ownKeys(prototype)) if (typeof name === 'string') enableOverride(prototype, name);
  }
  // Engine code reads `constructor` of arrays, typed arrays and promises on hot paths; an accessor would slow it.
  const hot = [Array.prototype, NativePromise.prototype, getPrototypeOf(Int8Array.prototype)];
  for (const object of objects) {
    if (typeof object !== 'function') continue;
    const descriptor = getOwnPropertyDescriptor(object, 'prototype');
    const prototype = descriptor === undefined ? undefined : descriptor.value;
    if (typeof prototype !== 'object' || prototype === null) continue;
    for (const name of ['toString', 'valueOf', 'toJSON', 'toLocaleString']) enableOverride(prototype, name);
    let isHot = false;
    for (const each of hot) isHot ||= prototype === each;
    if (!isHot) enableOverride(prototype, 'constructor');
  }
};

const harden = () => {
  const objects = reachable();
  overridable(objects);
  for (const object of reachable()) freeze(object);
};

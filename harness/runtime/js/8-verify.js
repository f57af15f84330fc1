// Proves from inside that the hardening took. Returns the problems found, as text; a worker serves only if there are
// none. It looks for itself: what it starts from are values as a script makes them, not what the hardening listed.

const verify = () => {
  const problems = [];
  const expect = (holds, text) => {
    if (!holds) problems[problems.length] = text;
  };
  // Whether an attempt fails as it should. An error that says something else has another cause.
  const refuses = (attempt, type, words) => {
    try {
      attempt();
      return false;
    } catch (error) {
      return getPrototypeOf(error) === type.prototype && stringIncludes(error.message, words);
    }
  };
  const cannotBeSet = (object, key) => refuses(() => { object[key] = 1; }, NativeTypeError, '');

  verifyGraph(expect);
  verifyGifts(expect);
  verifyNames(expect, cannotBeSet);
  verifyEvaluators(expect, refuses);
  verifyStacks(expect, cannotBeSet);
  verifyTimeAndChance(expect);
  verifyLocales(expect, refuses);
  verifyAssignments(expect, cannotBeSet);
  return problems;
};

// ── what can be reached ──────────────────────────────────────────────────────────────────────────────────────────

// One of everything that the language or this prelude hands to a script.
const samples = () => [
  // A generator inherits from an object of its function's own.
  getPrototypeOf((function* () {})()), getPrototypeOf((async function* () {})()),
  () => {}, async () => {}, function* () {}, async function* () {}, class {},
  (function () { return arguments; })(), [], {}, /a/, '', 0, 0n, false, Symbol.iterator,
  [].values(), new NativeMap().keys(), new NativeSet().keys(), ''[Symbol.iterator](), 'a'.matchAll(/a/g),
  [].values().map((x) => x), Iterator.from({ next() {} }), Iterator.concat([]), Iterator.zip([]), Iterator.zipKeyed({}),
  new NativeError(), new NativeProxy({}, {}), create(InternalErrorPrototype), domException('', 'AbortError'),
  NativePromise.resolve(), (async () => {})(), makeToolPromise(recordFor(0, '', null, false)),
  new NativeWeakMap(), new NativeArrayBuffer(0), new NativeUint8Array(0), new NativeDataView(new NativeArrayBuffer(0)),
  new NativeDate(0), new AbortController(), makeSignal(), new TextEncoder(), new TextDecoder(), new DisposableStack(),
  new AsyncDisposableStack(),
];

// Walks to everything that is shared: from the global object and from what the samples inherit from, through prototypes,
// properties, accessors, and what the accessors in the place of built-in properties return.
const verifyGraph = (expect) => {
  const seen = new NativeMap();
  const queue = [];
  const visit = (value, path) => {
    if ((typeof value !== 'object' || value === null) && typeof value !== 'function') return;
    if (mapHas(seen, value)) return;
    mapSet(seen, value, path);
    queue[queue.length] = value;
  };
  visit(globalThis, 'globalThis');
  const made = samples();
  for (let i = 0; i < made.length; i++) visit(getPrototypeOf(NativeObject(made[i])), `the prototype of sample ${i}`);
  const callee = getOwnPropertyDescriptor((function () { return arguments; })(), 'callee');
  visit(callee.get, 'the getter of arguments.callee');
  for (let i = 0; i < queue.length; i++) {
    const object = queue[i];
    const path = mapGet(seen, object);
    expect(isFrozen(object), `not frozen: ${path}`);
    expect(!mapHas(withdrawn, object), `${mapGet(withdrawn, object)} can be reached: ${path}`);
    if (typeof object === 'function' && !printsAsNative(object)) expect(false, `its source can be read: ${path}`);
    visit(getPrototypeOf(object), `the prototype of ${path}`);
    const keys = ownKeys(object);
    for (let k = 0; k < keys.length; k++) {
      const { value, get, set } = getOwnPropertyDescriptor(object, keys[k]);
      const place = `${path}.${NativeString(keys[k])}`;
      visit(value, place);
      visit(get, `the getter of ${place}`);
      visit(set, `the setter of ${place}`);
      if (object !== globalThis && !heirTakes(object, keys[k])) {
        expect(false, `an ordinary assignment to an heir of ${place} fails`);
      }
      if (get === undefined) continue;
      try {
        visit(apply(get, object, []), `what the getter of ${place} returns`);
      } catch {
        // The getter wants an instance.
      }
    }
  }
};

const printsAsNative = (object) => stringIncludes(apply(Function.prototype.toString, object, []), '() {\n    [native code]\n}');

// Whether what inherits from an object can have a property of its own instead of an inherited one, by assignment.
const heirTakes = (object, key) => {
  const { get, set, value } = getOwnPropertyDescriptor(object, key);
  if ((get !== undefined && set === undefined) || isReadOnly(object, key, value)) return true;
  const heir = create(object);
  try {
    heir[key] = verify;
    return key === '__proto__' ? getPrototypeOf(heir) === verify : getOwnPropertyDescriptor(heir, key)?.value === verify;
  } catch {
    return false;
  }
};

// What the language itself makes read-only, besides constants, which have names in capitals; and what 7-harden.js locks.
const READ_ONLY = new NativeSet([
  Symbol.toStringTag, Symbol.toPrimitive, Symbol.unscopables, Symbol.hasInstance, 'prototype',
]);
const READ_ONLY_OF_FUNCTIONS = new NativeSet([
  'name', 'length', 'caller', 'arguments', 'prepareStackTrace', 'stackTraceLimit',
]);
const TAGS_OF_GENERATORS = new NativeSet([
  'AsyncFunction', 'GeneratorFunction', 'AsyncGeneratorFunction', 'Generator', 'AsyncGenerator',
]);
const isReadOnly = (object, key, value) => {
  if (getPrototypeOf(object) === null && object !== ObjectPrototype) return true; // a table
  if (setHas(READ_ONLY, key) || typeof value === 'symbol') return true;
  if (typeof object === 'function' && setHas(READ_ONLY_OF_FUNCTIONS, key)) return true;
  if (key === 'constructor') return setHas(TAGS_OF_GENERATORS, getOwnPropertyDescriptor(object, Symbol.toStringTag)?.value);
  return typeof value === 'number' && (key === 'length' || stringCharCodeAt(key, 0) <= 90);
};

// What each execution is given: the tree of its tools, and the data that the host sends.
const verifyGifts = (expect) => {
  const tree = makeTools(['a.b']);
  for (const [object, path] of [[tree, 'tools'], [tree.a, 'tools.a'], [tree.a.b, 'tools.a.b']]) {
    expect(isFrozen(object), `not frozen: ${path}`);
  }
  expect(printsAsNative(tree.a.b) && printsAsNative(tree.unknown), 'the source of a tool can be read');
  const data = deepFreeze({ a: [{}] });
  for (const object of [data, data.a, data.a[0]]) expect(isFrozen(object), 'what the host sends is not frozen all the way down');
};

const verifyNames = (expect, cannotBeSet) => {
  const names = ownKeys(globalThis);
  for (let i = 0; i < names.length; i++) expect(setHas(KEPT, names[i]), `a global nobody has allowed: ${NativeString(names[i])}`);
  expect(names.length === setSize(KEPT), 'an expected global is missing');
  for (const name of ['unexpected', 'tools', 'context', 'Array', 'undefined']) {
    expect(cannotBeSet(globalThis, name), `the global ${name} can be set`);
  }
};

// ── what makes code, and what shows it ───────────────────────────────────────────────────────────────────────────

const verifyEvaluators = (expect, refuses) => {
  for (const sample of [() => {}, async () => {}, function* () {}, async function* () {}, Math.max, class {}, timers.setTimeout]) {
    const { constructor } = sample;
    const says = 'code cannot be made from text';
    expect(refuses(() => constructor('return 1'), NativeTypeError, says), 'a function constructor makes code');
    expect(refuses(() => new constructor('return 1'), NativeTypeError, says), 'a function constructor makes code with new');
    expect(sample instanceof constructor, 'a function is not an instance of its constructor');
  }
  for (const name of ['setTimeout', 'queueMicrotask']) {
    expect(refuses(() => globalThis[name]('globalThis', 0), NativeTypeError, 'needs a function'), `${name} takes text`);
  }
};

const verifyStacks = (expect, cannotBeSet) => {
  for (const key of ['prepareStackTrace', 'stackTraceLimit']) {
    expect(cannotBeSet(NativeError, key), `Error.${key} can be set`);
  }
  const deep = (levels) => (levels === 0 ? new NativeError() : deep(levels - 1) ?? 0);
  const error = deep(3 * STACK_LIMIT);
  let frames = 0;
  for (const character of rawStack(error)) if (character === '\n') frames++;
  expect(frames === STACK_LIMIT, `a stack has ${frames} frames`);
  const carrier = {};
  NativeError.captureStackTrace(carrier);
  let thrown;
  try {
    atob('*');
  } catch (error) {
    thrown = error;
  }
  // All of these were made in this prelude, whose frames nobody is shown.
  for (const object of [error, carrier, thrown, new DOMException(), domException('', '')]) {
    expect(object.stack === '', `a stack shows the prelude: ${object.stack}`);
  }
};

// ── what has to come out the same every time ─────────────────────────────────────────────────────────────────────

const verifyTimeAndChance = (expect) => {
  const before = state.now;
  state.now = 86_400_000;
  const times = [Date.now()];
  for (const date of [new Date(), new (class extends Date {})(), construct(Date, [], NativeMap)]) {
    times[times.length] = dateGetTime(date);
  }
  for (let i = 0; i < times.length; i++) expect(times[i] === state.now, `a Date shows ${times[i]}, not the host's clock`);
  expect(Date() === dateToString(new NativeDate(state.now)), 'Date() shows a clock that is not the host\'s');
  expect(new Date(0).constructor === Date && new Date(0) instanceof Date, 'a Date is not of the class Date');
  state.now = before;

  seedChance([1, 2, 3, 4]);
  const first = Math.random();
  expect(first === FIRST_CHANCE, `Math.random does not follow its seed: ${first}`);
};
// What a seed leads to is a part of every recorded journal.
const FIRST_CHANCE = 0.09715683220717619;

const verifyLocales = (expect, refuses) => {
  for (const [value, name, ...before] of [
    [0, 'toLocaleString'], [0n, 'toLocaleString'], [[], 'toLocaleString'], [new NativeUint8Array(0), 'toLocaleString'],
    [new Date(0), 'toLocaleString'], [new Date(0), 'toLocaleDateString'], [new Date(0), 'toLocaleTimeString'],
    ['', 'toLocaleUpperCase'], ['', 'toLocaleLowerCase'], ['', 'localeCompare', ''],
  ]) {
    expect(refuses(() => value[name](...before, 'de'), NativeTypeError, 'Intl'), `${name} ignores its locale`);
  }
};

// ── what must and what must not take an assignment ───────────────────────────────────────────────────────────────

const verifyAssignments = (expect, cannotBeSet) => {
  for (const object of [ObjectPrototype, ArrayPrototype, NativePromise.prototype, Function.prototype, JSON, Math, console]) {
    expect(cannotBeSet(object, 'unexpected'), 'a built-in takes a new property');
    expect(cannotBeSet(object, ownKeys(object)[0]), 'a property of a built-in can be set');
  }
  let said = 'nothing, but throws';
  try {
    said = Reflect.set(ObjectPrototype, 'toString', 1);
  } catch {
    // That is what it said then.
  }
  expect(said === false, `of a built-in Reflect.set says ${said}`);
  for (const [object, ...keys] of [
    [{}, 'toString', 'constructor', 'hasOwnProperty'], [() => {}, 'toString', 'call'], [[], 'push', 'constructor', Symbol.iterator],
    [new NativeError(), 'message', 'name', 'toString', 'stack'], [new NativeMap(), 'get'], [NativePromise.resolve(), 'then'],
    [(function* () {})(), 'next'], [new NativeDate(0), 'toJSON'], [create(console), 'log'],
  ]) {
    for (const key of keys) {
      let taken = false;
      try {
        object[key] = verify;
        taken = object[key] === verify && getOwnPropertyDescriptor(object, key).value === verify;
      } catch {
        // Then it was not taken.
      }
      expect(taken, `an ordinary assignment to ${NativeString(key)} fails`);
    }
  }
};

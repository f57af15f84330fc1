// What no script may ever reach, noted before it is replaced or taken away: 8-verify.js looks for it afterwards, in
// everything that can be reached.

const withdrawn = new NativeMap(); // function or object -> what it is, in words
const withdraw = (value, label) => {
  if (typeof value === 'function' || (typeof value === 'object' && value !== null)) mapSet(withdrawn, value, label);
};
const withdrawProperty = (object, key, label) => {
  const descriptor = getOwnPropertyDescriptor(object, key);
  if (descriptor === undefined) return;
  withdraw(descriptor.value, label);
  withdraw(descriptor.get, label);
  withdraw(descriptor.set, label);
};

// What makes code from text.
withdrawProperty(globalThis, 'eval', 'eval');
for (const sample of [() => {}, async () => {}, function* () {}, async function* () {}]) {
  const { constructor } = getPrototypeOf(sample);
  withdraw(constructor, `the engine's own ${constructor.name}`);
}
// What blocks, shares memory, or shows the machine's clock or when memory is collected; with all that belongs to it.
for (const name of ['SharedArrayBuffer', 'Atomics', 'WeakRef', 'FinalizationRegistry', 'performance']) {
  const object = globalThis[name];
  if (object === undefined) continue;
  withdraw(object, name);
  for (const key of ownKeys(object)) withdrawProperty(object, key, `a part of ${name}`);
  for (const key of ownKeys(object.prototype ?? {})) withdrawProperty(object.prototype, key, `a part of ${name}`);
}
for (const [object, key] of [
  [globalThis, 'Date'], [Date, 'now'], [Math, 'random'],
  // What shows the frames of this prelude, or hands out its functions.
  [Error, 'prepareStackTrace'], [Error, 'stackTraceLimit'], [Error, 'captureStackTrace'], [Error.prototype, 'stack'],
  ...['toString', 'fileName', 'lineNumber', 'columnNumber'].map((key) => [Function.prototype, key]),
  [globalThis, 'DOMException'], [globalThis, 'atob'], [globalThis, 'btoa'],
  // What only the engine throws, and what takes a callback past this prelude.
  [globalThis, 'InternalError'], [globalThis, 'queueMicrotask'],
  // What would throw where it is expected to say false.
  [Reflect, 'set'],
  // What would ignore the locale it is given.
  ...['toLocaleString', 'toLocaleDateString', 'toLocaleTimeString'].map((key) => [Date.prototype, key]),
  ...['toLocaleUpperCase', 'toLocaleLowerCase', 'localeCompare'].map((key) => [String.prototype, key]),
  ...[Number, BigInt, Array, getPrototypeOf(Int8Array)].map((type) => [type.prototype, 'toLocaleString']),
]) {
  withdrawProperty(object, key, `the engine's own ${key}`);
}

// Everything a script can reach, from the global object and from one of each kind of value, through prototypes,
// properties and accessors; what stands behind an accessor that takes assignments for others is reached by calling it.
// The body of a function that returns { lines, open }: one line for each property, and the paths of what is not frozen.
const roots = {
  AsyncFunction: async () => {}, GeneratorFunction: function* () {}, AsyncGeneratorFunction: async function* () {},
  Generator: Object.getPrototypeOf((function* () {})()), AsyncGenerator: Object.getPrototypeOf((async function* () {})()),
  ArrayIterator: [].values(), MapIterator: new Map().keys(), SetIterator: new Set().keys(), StringIterator: ''[Symbol.iterator](),
  RegExpStringIterator: 'a'.matchAll(/a/g), IteratorHelper: [].values().map(String), WrappedIterator: Iterator.from({ next() {} }),
  ConcatenatedIterator: Iterator.concat([]), ZippedIterator: Iterator.zip([]), ToolPromise: tools.echo({}), tools,
  TypedArray: Uint8Array.prototype, AbortSignal: new AbortController().signal,
};
tools.echo({}).finally(() => {});
const seen = new Map();
const lines = [];
const open = [];
const queue = [];
const isObject = (value) => Object(value) === value;
// Returns how a value is shown at this place.
const visit = (value, path) => {
  if (!isObject(value)) return value === null ? 'null' : typeof value;
  if (seen.has(value)) return '= ' + seen.get(value);
  seen.set(value, path);
  queue.push(value);
  return typeof value === 'function' ? `function ${value.length} ${JSON.stringify(value.name)}` : 'object';
};
// Whether what inherits from an object gets an ordinary property of its own by assignment.
const heirTakes = (object, key) => {
  const heir = Object.create(object);
  try {
    heir[key] = walked;
  } catch {
    return false;
  }
  const made = Object.getOwnPropertyDescriptor(heir, key);
  return made !== undefined && made.value === walked && made.enumerable;
};
const walked = {};
const own = new Set([tools, context]); // what this one execution was given
const look = (object) => {
  const path = seen.get(object);
  if (own.has(object)) return;
  const at = (key) => (path === 'global' ? key : `${path}.${key}`);
  if (!Object.isFrozen(object)) open.push(path);
  const prototype = visit(Object.getPrototypeOf(object), `${path}.[[prototype]]`);
  if (prototype !== (typeof object === 'function' ? '= Function.prototype' : '= Object.prototype')) {
    lines.push(`${path}.[[prototype]] ${prototype}`);
  }
  for (const key of Reflect.ownKeys(object)) {
    const { value, get, set, enumerable } = Object.getOwnPropertyDescriptor(object, key);
    const shown = enumerable ? 'enumerable ' : '';
    const name = typeof key === 'symbol' ? `[${key.description}]` : key;
    // Shown with the function itself.
    if (typeof object === 'function' && (name === 'name' || name === 'length') && get === undefined) continue;
    if (get === undefined && set === undefined) {
      lines.push(`${at(name)} ${shown}${visit(value, at(name))}`);
      continue;
    }
    const takes = get !== undefined && set !== undefined && heirTakes(object, key);
    if (takes) {
      for (const accessor of [get, set]) if (!Object.isFrozen(accessor) || 'prototype' in accessor) open.push(at(`accessor ${name}`));
      lines.push(`${at(name)} ${shown}assignable ${visit(Reflect.apply(get, object, []), at(name))}`);
    } else {
      lines.push(`${at(name)} ${shown}accessor`);
      if (get !== undefined) lines.push(`${at(`get ${name}`)} ${visit(get, at(`get ${name}`))}`);
      if (set !== undefined) lines.push(`${at(`set ${name}`)} ${visit(set, at(`set ${name}`))}`);
    }
  }
};
const everything = () => {
  while (queue.length > 0) look(queue.shift());
};
visit(globalThis, 'global');
visit(Object.prototype, 'Object.prototype');
visit(Function.prototype, 'Function.prototype');
everything();
for (const [name, value] of Object.entries(roots)) visit(Object.getPrototypeOf(value), `%${name}%`);
visit(Object.getOwnPropertyDescriptor((function () { return arguments; })(), 'callee').get, '%callee%');
everything();
return { lines: lines.sort(), open };

// Every object a script can reach, those without a name included: how they are found, what makes them bear assignments
// to what inherits from them, and how they are frozen.

// ── every intrinsic there is ─────────────────────────────────────────────────────────────────────────────────────

// Those that no property leads to, reached through syntax and through values.
const unnamedIntrinsics = () => {
  const found = [];
  const add = (value) => {
    found[found.length] = value;
  };
  for (const [, prototype] of functionKinds) add(prototype);
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
// As an accessor that defines the property on the object assigned to, it does not. What cannot be written before it is
// frozen, forbids that anyway.
const enableOverride = (prototype, name) => {
  const descriptor = getOwnPropertyDescriptor(prototype, name);
  if (!descriptor.configurable || !descriptor.writable) return;
  const { value } = descriptor;
  const accessor = {
    get [name]() {
      return value;
    },
    set [name](replacement) {
      const taken = ((typeof this === 'object' && this !== null) || typeof this === 'function') && assign(this, name, replacement);
      if (!taken) throw new NativeTypeError(`'${NativeString(name)}' is read-only`);
    },
  };
  defineProperty(prototype, name, {
    __proto__: null,
    ...getOwnPropertyDescriptor(accessor, name),
    enumerable: descriptor.enumerable,
    configurable: false,
  });
};

// What an assignment does to the object it reaches in the end. False if that object refuses it.
const assign = (object, name, value) => {
  const own = getOwnPropertyDescriptor(object, name);
  if (own === undefined) return shown(object, name, value);
  return own.writable === true && defineProperty(object, name, { __proto__: null, value });
};

// Everything that objects of a script's inherit from: prototypes, and the console, which people wrap. Not constructors
// and namespaces, whose functions are read far more often than inherited.
const enableOverrides = (objects) => {
  for (let i = 0; i < objects.length; i++) {
    const object = objects[i];
    if (typeof object === 'function' && object !== Function.prototype) continue;
    if (object === globalThis || object === Math || object === JSON || object === Reflect) continue;
    if (getPrototypeOf(object) === null && object !== ObjectPrototype) continue; // a table
    const keys = ownKeys(object);
    for (let k = 0; k < keys.length; k++) enableOverride(object, keys[k]);
  }
};

const harden = () => {
  // From here on, what stands behind an accessor is reached by calling it only.
  const objects = reachable();
  enableOverrides(objects);
  for (const object of objects) freeze(object);
  for (const object of reachable()) freeze(object);
};

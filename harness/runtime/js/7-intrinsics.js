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
      if (!taken) throw refusalFor(this, name);
    },
  };
  const { get, set } = getOwnPropertyDescriptor(accessor, name);
  defineProperty(prototype, name, {
    __proto__: null, get: freeze(get), set: freeze(set), enumerable: descriptor.enumerable, configurable: false,
  });
};

// What an assignment does to the object it reaches in the end. False if that object refuses it.
const assign = (object, name, value) => {
  const own = getOwnPropertyDescriptor(object, name);
  if (own === undefined) return shown(object, name, value);
  return own.writable === true && defineProperty(object, name, { __proto__: null, value });
};

// An accessor can refuse only by throwing, but Reflect.set is expected to say false.
let underWay = null; // the innermost Reflect.set: { receiver, refusal }
const refusalFor = (object, name) => {
  const error = new NativeTypeError(`'${NativeString(name)}' is read-only`);
  if (underWay !== null && underWay.receiver === object) underWay.refusal = error;
  return error;
};
const nativeSet = Reflect.set;
hidden(
  Reflect,
  'set',
  {
    set(target, key, value, ...rest) {
      const before = underWay;
      const receiver = rest.length === 0 ? target : rest[0];
      const here = { __proto__: null, receiver, refusal: null };
      underWay = here;
      try {
        return apply(nativeSet, undefined, [target, key, value, receiver]);
      } catch (error) {
        if (error === here.refusal) return false;
        throw error;
      } finally {
        underWay = before;
      }
    },
  }.set,
);

// Everything that anything of a script's can inherit from: prototypes, constructors (`class P extends Promise {}`),
// namespaces (`Object.create(Math)`), and the console, which people wrap. The global object is closed for good.
const enableOverrides = (objects) => {
  for (let i = 0; i < objects.length; i++) {
    const object = objects[i];
    if (object === globalThis) continue;
    if (getPrototypeOf(object) === null && object !== ObjectPrototype) continue; // a table
    const keys = ownKeys(object);
    for (let k = 0; k < keys.length; k++) enableOverride(object, keys[k]);
  }
};

const harden = () => {
  const objects = reachable();
  // From here on, what stands behind an accessor is reached by calling it only.
  enableOverrides(objects);
  for (const object of objects) freeze(object);
};

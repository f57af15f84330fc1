// What a script calls: `tools`, and the results that a dry run makes up.

// ── the `tools` object of one execution ──────────────────────────────────────────────────────────────────────────

// Names the language itself looks up: they must be undefined, so that awaiting or printing `tools` calls nothing.
const PROBED = new NativeSet();
for (const name of ['then', 'toJSON', 'toString', 'valueOf', 'constructor', '__proto__', 'prototype', 'inspect']) {
  setAdd(PROBED, name);
}

// names: ['add', 'fs.read', …] -> a frozen tree behind a Proxy whose unknown names are calls that the host refuses
// with suggestions.
const makeTools = (names) => {
  const root = create(null);
  for (let i = 0; i < names.length; i++) {
    const name = names[i];
    let node = root;
    let from = 0;
    for (let dot = stringIndexOf(name, '.', 0); dot >= 0; dot = stringIndexOf(name, '.', from)) {
      const part = stringSlice(name, from, dot);
      if (node[part] === undefined) shown(node, part, create(null));
      node = node[part];
      from = dot + 1;
    }
    const call = { call: (...list) => callTool(name, list) }.call;
    defineProperty(call, 'name', { __proto__: null, value: name });
    shown(node, stringSlice(name, from), freeze(call));
  }
  return guardTree(root, '');
};

const guardTree = (node, prefix) => {
  const names = objectKeys(node);
  for (let i = 0; i < names.length; i++) {
    const child = node[names[i]];
    if (typeof child === 'object') shown(node, names[i], guardTree(child, `${prefix}${names[i]}.`));
  }
  freeze(node);
  return new NativeProxy(
    node,
    freeze({
      __proto__: null,
      get: (target, name) => {
        if (typeof name !== 'string') return undefined;
        // The host lets no tool have a name that would be called by accident.
        const known = target[name];
        if (known !== undefined || setHas(PROBED, name)) return known;
        return unknown(arrayJoin([prefix, wellFormed(stringSlice(name, 0, 200))], ''));
      },
    }),
  );
};

// A name that is no tool, and may have been meant for a namespace: `tools[name].read()` is answered as `tools[name]()` is.
const unknown = (full) =>
  new NativeProxy(
    (...list) => callTool(full, list),
    freeze({
      __proto__: null,
      get: (target, name) => {
        if (typeof name !== 'string' || name in target || setHas(PROBED, name) || full.length > 1000) return target[name];
        return unknown(arrayJoin([full, '.', wellFormed(stringSlice(name, 0, 200))], ''));
      },
    }),
  );

// ── made-up results of a dry run ─────────────────────────────────────────────────────────────────────────────────

const lookAt = (id) => {
  // Returning a made-up result is not looking at it.
  if (state.lookedAt === 0 && !state.returning) state.lookedAt = id;
};

const madeUp = (value, id) => {
  if (value === null || typeof value !== 'object') {
    lookAt(id);
    return value;
  }
  const looking = (trap) => (...list) => {
    lookAt(id);
    return apply(trap, undefined, list);
  };
  return new NativeProxy(
    value,
    freeze({
      __proto__: null,
      // Settling a promise looks for `then`; that is not the script looking.
      get: (target, name) => {
        if (name === 'then') return undefined;
        lookAt(id);
        return target[name];
      },
      has: looking(Reflect.has),
      ownKeys: looking(ownKeys),
      getOwnPropertyDescriptor: looking(getOwnPropertyDescriptor),
    }),
  );
};

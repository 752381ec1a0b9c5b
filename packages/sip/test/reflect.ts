// What @peculiar/x509 asks of the place it runs in: a store for metadata. Import it before that library.
const store = new WeakMap<object, Map<unknown, unknown>>();
const own = (key: unknown, target: object): unknown => store.get(target)?.get(key);

Object.assign(Reflect, {
  getOwnMetadata: own,
  getMetadata: own,
  defineMetadata(key: unknown, value: unknown, target: object): void {
    const known = store.get(target);
    if (known === undefined) store.set(target, new Map([[key, value]]));
    else known.set(key, value);
  },
});

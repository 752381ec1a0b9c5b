import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/** Where a package has a variant of its own for browsers, or shares its name with a module of Node's. */
const IN_A_BROWSER: Readonly<Record<string, string>> = { debug: '/src/browser.js', events: '/' };

/** A CommonJS package and all it requires as one script that leaves the package's exports in `globalThis[name]`. */
export function pack(specifier: string, name: string): string {
  const modules = new Map<string, string>();
  const add = (path: string): void => {
    if (modules.has(path)) return;
    const source = readFileSync(path, 'utf8');
    modules.set(path, '');
    if (path.endsWith('.json')) {
      modules.set(path, `module.exports = ${source};`);
      return;
    }
    const require = createRequire(path);
    const resolve = (wanted: string): string => require.resolve(wanted + (IN_A_BROWSER[wanted] ?? ''));
    const linked = source.replaceAll(/\brequire\((['"])([^'"]+)\1\)/g, (_all, _quote, wanted: string) => {
      const found = resolve(wanted);
      add(found);
      return `require(${JSON.stringify(found)})`;
    });
    modules.set(path, linked);
  };
  const entry = createRequire(import.meta.url).resolve(specifier);
  add(entry);
  const table = [...modules]
    .map(([path, source]) => `${JSON.stringify(path)}: function (module, exports, require) {\n${source}\n}`)
    .join(',\n');
  return `(() => {
const table = {${table}};
const loaded = {};
const process = { env: {} };
const require = path => {
  if (loaded[path] === undefined) {
    loaded[path] = { exports: {} };
    table[path](loaded[path], loaded[path].exports, require);
  }
  return loaded[path].exports;
};
globalThis[${JSON.stringify(name)}] = require(${JSON.stringify(entry)});
})();`;
}

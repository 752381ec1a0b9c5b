import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { parse } from 'yaml';
import { Loopback } from '../lab/loopback.js';

const GRAFANA = fileURLToPath(new URL('../../../grafana/', import.meta.url));
/** Of the runtime itself there are dozens; the dashboards show the few that say how the process is. */
const RUNTIME = /^(?:nodejs|process)_/;

interface Dashboard {
  readonly title: string;
  readonly panels: readonly { readonly title: string; readonly targets?: readonly { readonly expr: string }[] }[];
}

const DASHBOARDS = readdirSync(join(GRAFANA, 'dashboards')).map(
  file => JSON.parse(readFileSync(join(GRAFANA, 'dashboards', file), 'utf8')) as Dashboard,
);
const ALERTS = (
  parse(readFileSync(join(GRAFANA, 'prometheus/alerts.yaml'), 'utf8')) as {
    groups: { rules: { alert: string; expr: string }[] }[];
  }
).groups.flatMap(g => g.rules);

/** Names of metrics, and the literal labels asked of them. */
function selectors(expr: string): { name: string; labels: [string, string][] }[] {
  return [...expr.matchAll(/\b((?:drawbridge|process|nodejs)_[a-z0-9_]+)(?:\{([^}]*)\})?/g)].map(m => ({
    name: m[1] ?? '',
    labels: [...(m[2] ?? '').matchAll(/([a-z]+)="([^"]*)"/g)]
      .map((l): [string, string] => [l[1] ?? '', l[2] ?? ''])
      .filter(([name]) => name !== 'job'),
  }));
}

/** A histogram's series have endings of their own. */
function base(name: string): string {
  return name.replace(/_(?:bucket|sum|count)$/, '');
}

t.test('each panel and each alert asks for what there is, and all there is has a panel', async t => {
  const border = await Loopback.start([
    'domains: { example.org: { kind: local } }',
    'hep: { to: "udp:127.0.0.1:9" }',
    'trunks: { carrier: { next: ["sip:127.0.0.1:9"], register: { user: u, password: p } } }',
  ]);
  t.teardown(() => border.stop());
  const text = await (await fetch(`${border.admin}/metrics`)).text();
  const exist = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(m => m[1] ?? ''));
  t.ok(exist.has('drawbridge_calls') && exist.size > 60, `${exist.size} metrics`);
  const asked = new Set<string>();
  const wrong: string[] = [];
  const look = (where: string, expr: string): void => {
    const found = selectors(expr);
    if (found.length === 0 && !expr.includes('up{')) wrong.push(`${where} asks for no metric`);
    for (const { name, labels } of found) {
      asked.add(base(name));
      if (!exist.has(base(name))) wrong.push(`${where}: there is no ${name}`);
      for (const [label, value] of labels) {
        const series = text
          .split('\n')
          .some(line => line.startsWith(`${name}{`) && line.includes(`${label}="${value}"`));
        if (!series) wrong.push(`${where}: no ${name} has ${label}="${value}"`);
      }
    }
  };
  for (const d of DASHBOARDS)
    for (const p of d.panels) for (const q of p.targets ?? []) look(`${d.title}, ${p.title}`, q.expr);
  const shown = new Set(asked);
  for (const a of ALERTS) look(`alert ${a.alert}`, a.expr);
  t.strictSame(wrong, []);
  t.strictSame(
    [...exist].filter(name => !RUNTIME.test(name) && !shown.has(name)),
    [],
    'nothing without a panel',
  );

  const before = wrong.length;
  look('control', 'rate(drawbridge_no_such_total[5m])');
  look('control', 'sum(drawbridge_calls_ended_total{outcome="bliss"})');
  t.equal(wrong.length - before, 2, 'control: a metric or a label that is not there is noticed');
});

t.test('the files are those of grafana/panels.mjs', async t => {
  const script = fileURLToPath(new URL('../../../scripts/dashboards.mjs', import.meta.url));
  const made = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  t.equal(made.status, 0, made.stderr);
});

t.test('Prometheus reads every expression', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'drawbridge-rules-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const rules = DASHBOARDS.flatMap(d => d.panels.flatMap(p => (p.targets ?? []).map(q => q.expr))).map((expr, n) => ({
    record: `panel:${n}`,
    expr: expr.replaceAll('$__rate_interval', '1m').replaceAll('$job', 'drawbridge'),
  }));
  const check = (list: readonly object[]): number | null => {
    const file = join(folder, 'rules.json');
    writeFileSync(file, JSON.stringify({ groups: [{ name: 'panels', rules: list }] }));
    return spawnSync('promtool', ['check', 'rules', file]).status;
  };
  t.equal(check(rules), 0);
  t.not(check([{ record: 'panel:x', expr: 'sum(rate(drawbridge_calls[1m]' }]), 0, 'control: a broken one is not');
  t.equal(spawnSync('promtool', ['check', 'rules', join(GRAFANA, 'prometheus/alerts.yaml')]).status, 0);
});

// Writes grafana/dashboards/*.json from grafana/panels.mjs; with --check says what is out of date instead.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DASHBOARDS } from '../grafana/panels.mjs';
import { root } from './process.mjs';

const HEIGHT = 8;
// biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana's own syntax
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };

function panel([title, unit, queries, width = 8, kind = 'timeseries'], id, x, y) {
  return {
    id,
    title,
    type: kind,
    datasource: DATASOURCE,
    gridPos: { h: kind === 'stat' ? 4 : HEIGHT, w: width, x, y },
    fieldConfig: {
      defaults: { unit, ...(kind === 'timeseries' ? { min: 0, custom: { fillOpacity: 10 } } : {}) },
      overrides: [],
    },
    options: kind === 'timeseries' ? { tooltip: { mode: 'multi', sort: 'desc' }, legend: { showLegend: true } } : {},
    targets: queries.map(([expr, legendFormat], i) => ({
      refId: String.fromCharCode(65 + i),
      datasource: DATASOURCE,
      expr,
      legendFormat,
      ...(kind === 'table' ? { format: 'table', instant: true } : {}),
    })),
  };
}

function dashboard({ file, title, rows }) {
  const panels = [];
  let id = 0;
  let y = 0;
  for (const row of rows) {
    panels.push({
      id: ++id,
      type: 'row',
      title: row.title,
      collapsed: false,
      gridPos: { h: 1, w: 24, x: 0, y: y++ },
      panels: [],
    });
    let x = 0;
    let tallest = 0;
    for (const described of row.panels) {
      const width = described[3] ?? 8;
      if (x + width > 24) {
        x = 0;
        y += tallest;
        tallest = 0;
      }
      const made = panel(described, ++id, x, y);
      panels.push(made);
      tallest = Math.max(tallest, made.gridPos.h);
      x += width;
    }
    y += tallest;
  }
  const variable = (name, label, more) => ({ name, label, ...more });
  return {
    uid: `drawbridge-${file}`,
    title,
    tags: ['drawbridge'],
    timezone: 'browser',
    schemaVersion: 39,
    version: 1,
    refresh: '10s',
    time: { from: 'now-1h', to: 'now' },
    templating: {
      list: [
        variable('datasource', 'Data source', { type: 'datasource', query: 'prometheus' }),
        variable('job', 'Job', {
          type: 'query',
          datasource: DATASOURCE,
          query: { query: 'label_values(drawbridge_calls, job)', refId: 'jobs' },
          refresh: 1,
        }),
      ],
    },
    panels,
  };
}

const check = process.argv.includes('--check');
let stale = 0;
for (const described of DASHBOARDS) {
  const path = join(root, 'grafana/dashboards', `${described.file}.json`);
  const text = `${JSON.stringify(dashboard(described), null, 2)}\n`;
  if (existsSync(path) && readFileSync(path, 'utf8') === text) continue;
  stale++;
  if (check) console.error(`${path} is out of date: run node scripts/dashboards.mjs`);
  else writeFileSync(path, text);
}
process.exitCode = check && stale > 0 ? 1 : 0;

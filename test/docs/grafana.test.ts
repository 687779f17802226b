import { execFile, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { type Fleet, repository, startFleet } from '../harness/fleet.ts';

const run = promisify(execFile);
const named = process.env['BRINK_TEST_PROMTOOL'] ?? 'promtool';
const promtool = spawnSync(named, ['--version']).status === 0 ? named : undefined;

// A dashboard is read when something is wrong: a panel that names what no service has would be empty just then.

const folder = join(repository, 'deploy/grafana/dashboards');

const PanelSchema = z.looseObject({
  type: z.string(),
  title: z.string().min(1),
  targets: z.array(z.looseObject({ expr: z.string().min(1) })).default([]),
  fieldConfig: z.looseObject({ defaults: z.looseObject({ unit: z.string().min(1).optional() }) }).optional(),
});
const DashboardSchema = z.looseObject({
  uid: z.string().min(1),
  title: z.string().min(1),
  schemaVersion: z.number(),
  panels: z.array(PanelSchema).min(1),
  templating: z.looseObject({ list: z.array(z.looseObject({ name: z.string(), definition: z.string().optional() })) }),
});
type Dashboard = z.infer<typeof DashboardSchema>;

const dashboards = readdirSync(folder).map((file): [string, Dashboard] => [
  file,
  DashboardSchema.parse(JSON.parse(readFileSync(join(folder, file), 'utf8'))),
]);

/** A metric and the labels that its queries name. */
interface Named {
  readonly metric: string;
  readonly labels: readonly string[];
}

const METRIC = /\b(brink_\w+)(?:\{([^}]*)\})?/g;

/** The metrics of a query, each with the labels of its selector and those by which it is summed. */
function namedIn(query: string): Named[] {
  const by = Array.from(query.matchAll(/\bby \(([^)]*)\)/g)).flatMap(([, names = '']) => names.split(/\s*,\s*/));
  return Array.from(query.matchAll(METRIC), ([, metric = '', selector = '']) => ({
    metric,
    labels: [...Array.from(selector.matchAll(/(\w+)\s*[=!]~?/g), ([, label = '']) => label), ...by],
  }));
}

/** Name of a series → the labels that its samples have; of those without samples yet, none. */
function seriesOf(pages: readonly string[]): Map<string, Set<string>> {
  const series = new Map<string, Set<string>>();
  for (const page of pages) {
    for (const [, name = '', type] of page.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
      const suffixes = type === 'histogram' ? ['_bucket', '_sum', '_count'] : [''];
      for (const suffix of suffixes) series.set(name + suffix, series.get(name + suffix) ?? new Set());
    }
    for (const [, name = '', labels = ''] of page.matchAll(/^(\w+)\{(.*)\} \S+$/gm)) {
      for (const [, label = ''] of labels.matchAll(/(\w+)="/g)) series.get(name)?.add(label);
    }
  }
  return series;
}

let fleet: Fleet;
let series: Map<string, Set<string>>;

beforeAll(async () => {
  fleet = await startFleet();
  // So that what counts per stream, pipeline and model has counted.
  const cat = readFileSync(join(repository, 'packages/device/pictures/chelsea.png'));
  const posted = await fleet.api.request('/v1/frames/cam-cat/front?wait_ms=10000', {
    method: 'POST',
    body: cat,
    headers: { 'content-type': 'image/png' },
  });
  expect(posted.status, posted.text).toBe(200);
  const pages = [fleet.gateway, fleet.inference, fleet.control].map(async ({ addresses: { ops } }) =>
    (await fetch(`http://${ops.host}:${ops.port}/metrics`)).text(),
  );
  series = seriesOf(await Promise.all([...pages, fleet.brokerMetrics()]));
});
afterAll(() => fleet?.[Symbol.asyncDispose]());

describe.each(dashboards)('the dashboard %s', (_, dashboard) => {
  const panels = dashboard.panels.filter(({ type }) => type !== 'row');
  const queries = panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const));

  it.each(queries)('%s: every metric of the query is there, with the labels that it names: %s', (_title, query) => {
    const named = namedIn(query);
    expect(named).not.toEqual([]);
    for (const { metric, labels } of named) {
      expect([...series.keys()], metric).toContain(metric);
      const given = series.get(metric) ?? new Set();
      // Without a sample there is nothing to compare with.
      if (given.size > 0) expect([...given], `labels of ${metric}`).toEqual(expect.arrayContaining([...labels]));
    }
  });

  it('every panel asks for something and says in which unit, each title stands once', () => {
    for (const { title, targets, fieldConfig } of panels) {
      expect(targets, title).not.toEqual([]);
      expect(fieldConfig?.defaults.unit, title).toBeDefined();
    }
    const titles = dashboard.panels.map(({ title }) => title);
    expect(new Set(titles).size).toBe(titles.length);
  });

  it('its variables ask for metrics that are there', () => {
    const asked = dashboard.templating.list.flatMap(({ definition = '' }) => namedIn(definition));
    for (const { metric } of asked) expect([...series.keys()]).toContain(metric);
  });

  it('every kind of thing that the inference service counts of itself is shown', () => {
    const shown = new Set(queries.flatMap(([, query]) => namedIn(query).map(({ metric }) => familyOf(metric))));
    const own = [...series.keys()].filter((name) => name.startsWith('brink_inference_')).map(familyOf);
    expect([...new Set(own)].filter((name) => !shown.has(name))).toEqual([]);
  });

  it.each(['stage_seconds', 'drops_total', 'stream_oldest_seconds', 'stream_waiting', 'outcomes_oldest_seconds'])(
    'shows where the time of units goes, what waits for how long, and why it was dropped: brink_gateway_%s',
    (name) => {
      const shown = queries.flatMap(([, query]) => namedIn(query).map(({ metric }) => familyOf(metric)));
      expect(shown).toContain(`brink_gateway_${name}`);
    },
  );
});

const RulesSchema = z.strictObject({
  groups: z.array(
    z.strictObject({
      name: z.string(),
      rules: z.array(
        z.strictObject({
          alert: z.string().regex(/^Brink[A-Z]\w+$/),
          expr: z.string(),
          for: z.string().optional(),
          labels: z.strictObject({ severity: z.enum(['critical', 'warning']) }),
          annotations: z.strictObject({ summary: z.string(), look: z.string() }),
        }),
      ),
    }),
  ),
});

describe('the alarms of deploy/prometheus', () => {
  const alarms = join(repository, 'deploy/prometheus');
  const { groups } = RulesSchema.parse(parse(readFileSync(join(alarms, 'alerts.yaml'), 'utf8')));
  const rules = groups.flatMap((group) => group.rules);

  it.each(rules.map(({ alert, expr }) => [alert, expr]))('%s looks at metrics that are there: %s', (_, expr) => {
    for (const { metric, labels } of namedIn(expr)) {
      expect([...series.keys()], metric).toContain(metric);
      const given = series.get(metric) ?? new Set();
      if (given.size > 0) expect([...given], `labels of ${metric}`).toEqual(expect.arrayContaining([...labels]));
    }
  });

  it('each has a name of its own, and says where to look', () => {
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    const look = rules.map(({ annotations }) => annotations.look);
    for (const path of look.flatMap((text) => text.match(/docs\/[\w-]+\.md/g) ?? []))
      expect(existsSync(join(repository, path)), path).toBe(true);
  });

  it.skipIf(promtool === undefined)(
    `promtool takes them, and its tests of them pass${promtool === undefined ? ' (skipped: there is no promtool here; it comes with prometheus)' : ''}`,
    async () => {
      const said = async (...args: string[]) => (await run(promtool as string, args)).stdout;
      expect(await said('check', 'config', join(alarms, 'prometheus.yaml'))).toContain('SUCCESS');
      expect(await said('test', 'rules', join(alarms, 'alerts.test.yaml'))).toContain('SUCCESS');
    },
  );
});

const familyOf = (name: string) => name.replace(/_(bucket|sum|count)$/, '');

describe('negative control', () => {
  it('a query with a metric or a label that nobody has would be caught', () => {
    const [wrong] = namedIn('sum by (modle) (rate(brink_inference_unit_total{model="x"}[1m]))');
    expect(wrong).toEqual({ metric: 'brink_inference_unit_total', labels: ['model', 'modle'] });
    expect(series.has(wrong?.metric ?? '')).toBe(false);
    expect([...(series.get('brink_inference_units_total') ?? [])]).not.toContain('modle');
  });
});

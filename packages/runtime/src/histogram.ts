import type { Registry } from 'prom-client';

export interface PlainHistogram<L extends string> {
  /** The one of these labels; to be kept where it is used often. Labels must be few: each makes a series per bucket. */
  of(labels: Readonly<Record<L, string>>): { observe(seconds: number): void };
}

/**
 * A histogram for what happens several times per frame: to observe costs a loop over the buckets, where prom-client's costs a
 * microsecond or two for its labels.
 * @param o.buckets upper bounds, rising
 */
export function createPlainHistogram<L extends string>(
  registry: Registry,
  o: { name: string; help: string; buckets: readonly number[]; labelNames: readonly L[] },
): PlainHistogram<L> {
  const { name, help, buckets } = o;
  const series = new Map<string, { labels: Readonly<Record<L, string>>; counts: Float64Array; sum: number }>();

  /** As prom-client prints it: each bucket with what is in those before it. */
  function values(): { metricName: string; labels: Record<string, string | number>; value: number }[] {
    return [...series.values()].flatMap(({ labels, counts, sum }) => {
      let below = 0;
      const upTo = Array.from(counts, (count, i) => {
        below += count;
        return { metricName: `${name}_bucket`, labels: { ...labels, le: buckets[i] ?? '+Inf' }, value: below };
      });
      return [
        ...upTo,
        { metricName: `${name}_sum`, labels: { ...labels }, value: sum },
        { metricName: `${name}_count`, labels: { ...labels }, value: below },
      ];
    });
  }

  const metric = {
    ...{ name, help, type: 'histogram', aggregator: 'sum' },
    get: async () => ({ name, help, type: 'histogram', aggregator: 'sum', values: values() }),
    reset: () => series.clear(),
  };
  // The registry asks no more of a metric than this; its type says that it takes its own classes only.
  registry.registerMetric(metric as unknown as Parameters<Registry['registerMetric']>[0]);

  return {
    of(labels) {
      const key = o.labelNames.map((label) => labels[label]).join('\n');
      let one = series.get(key);
      if (one === undefined) {
        one = { labels, counts: new Float64Array(buckets.length + 1), sum: 0 };
        series.set(key, one);
      }
      const { counts } = one;
      const own = one;
      return {
        observe(seconds) {
          let i = 0;
          while (i < buckets.length && seconds > (buckets[i] as number)) i += 1;
          counts[i] = (counts[i] as number) + 1;
          own.sum += seconds;
        },
      };
    },
  };
}

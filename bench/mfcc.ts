import type { Bench, BenchResult } from './bench.ts';
import { startChild } from './child.ts';
import { measureRounds, type Series } from './rounds.ts';

export interface MfccRequest {
  readonly by: 'graph' | 'preprocess';
  readonly batch: number;
  readonly ms: number;
}
export interface MfccReply {
  readonly ms: number;
}

/** What it saves on the link, 64 kB of samples against 2 kB of coefficients, is worth more than this. */
const BAR = 1.5;
const MEASURE_MS = 700;

/** Whether the coefficients of a second of sound belong into the model's graph (docs/adr/0013). */
export const mfcc: Bench = {
  what: 'time of 49 × 10 MFCC of 1 s at 16 kHz by preprocess ÷ by a graph (convolution) in ONNX Runtime, one thread each',
  async run(report): Promise<BenchResult> {
    const variants: Record<string, Series> = {};
    await using child = startChild<MfccReply>('mfcc-child.ts');
    await child.ask({});
    for (const batch of [1, 8]) {
      report(`batch ${batch}:`);
      const msOf = async (by: MfccRequest['by']) => (await child.ask({ by, batch, ms: MEASURE_MS })).ms;
      await msOf('graph');
      await msOf('preprocess');
      variants[`b${batch}`] = await measureRounds(
        () => msOf('graph'),
        () => msOf('preprocess'),
        report,
        { unit: 'ms', baseline: 'graph' },
      );
    }
    const { figure, rounds } = variants['b1'] as Series;
    return { figure, unit: 'preprocess ÷ graph', bar: BAR, atMost: true, variants, rounds };
  },
};

/** One outcome as a gateway sends it. */
export function outcomeBytes(o: {
  device: string;
  seq: number;
  pipeline: string;
  score: number;
  durable: boolean;
}): Buffer {
  const { device, seq, pipeline, score, durable } = o;
  const label = score > 0.5 ? 'cat' : 'dog';
  return Buffer.from(
    JSON.stringify({
      ...{ device, stream: `of-${pipeline}`, boot: 'k3v9', seq, part: 0, pipeline, outcome: 'decided' },
      result: { task: 'classification', label, score, classes: [{ label, score }] },
      frames: { boot: 'k3v9', first: seq, last: seq, received: 1 },
      ...{ model: { name: 'tiny', version: 1 }, received_ms: Date.now(), latency_ms: 8.4, durable },
      evidence: {
        frame: { sha256: 'f'.repeat(64), bytes: 4096, type: 'image/jpeg', width: 640, height: 480 },
        model: { passport_sha256: 'a'.repeat(64), model_sha256: 'b'.repeat(64), provider: 'cpu' },
        transform: { scale: [0.05, 0.067], offset: [0, 0], fit: 'stretch', width: 32, height: 32 },
        ...{ batch: 2, ms: { queue: 1, infer: 4 }, top: [{ label, raw: 4.2 }], attempts: 1, gateway: 'gateway-1' },
      },
    }),
  );
}

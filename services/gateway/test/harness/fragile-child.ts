import { serveParent } from '@brink/runtime';

const grown: Buffer[] = [];

// A decoder that does what the bytes of the "picture" say. In place of the real one, to crash and hang at will.
await serveParent(
  { service: 'decode', instance: 'fragile', window: 64, frameBytesMax: 1024 * 1024 },
  {
    handlers: {
      async decode(request, [bytes = Buffer.alloc(0)]) {
        const text = bytes.toString('latin1');
        if (text.includes('crash')) process.kill(process.pid, 'SIGSEGV');
        if (text.includes('hang')) await new Promise(() => {});
        // As a codec does that believes what a header says: memory is taken and written to until there is no more.
        while (text.includes('grow')) {
          grown.push(Buffer.alloc(8 * 1024 * 1024, 1));
          await new Promise((resolve) => setImmediate(resolve));
        }
        const pictures = request.targets.map(({ width, height }) => Buffer.alloc(width * height * 3, bytes[0]));
        const transforms = request.targets.map(() => ({ scaleX: 1, scaleY: 1, offsetX: 0, offsetY: 0 }));
        return {
          body: { case: 'decoded', value: { type: 'image/png', width: 1, height: 1, transforms, decodeMs: 0.1 } },
          payloads: pictures,
        };
      },
    },
  },
);

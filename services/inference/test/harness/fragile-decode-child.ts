import { serveParent } from '@brink/runtime';

// In place of the decoder of pictures: it crashes, hangs or answers as the bytes of the "picture" say.
await serveParent(
  { service: 'decode', instance: 'fragile', window: 64, frameBytesMax: 1024 * 1024 },
  {
    handlers: {
      async decode(request, [bytes = Buffer.alloc(0)]) {
        const text = bytes.toString('latin1');
        if (text.startsWith('crash')) process.kill(process.pid, 'SIGSEGV');
        if (text.startsWith('hang')) await new Promise(() => {});
        const transforms = request.targets.map(() => ({ scaleX: 1, scaleY: 1, offsetX: 0, offsetY: 0 }));
        return {
          body: { case: 'decoded', value: { type: 'image/png', width: 1, height: 1, transforms, decodeMs: 0.1 } },
          payloads: request.targets.map(({ width, height }) => Buffer.alloc(width * height, bytes[0])),
        };
      },
    },
  },
);

import type { link } from '@brink/protocol/link';
import { serveParent } from '@brink/runtime/child';
import type { PictureTarget } from './geometry.ts';
import { type DecodeOptions, decodePicture } from './picture.ts';

// The process that touches codecs: a crash or a hang in one of them costs this process and one attempt, nothing else.
// The parent says over the link what to decode; the answer is the pixels. One thread of libuv decodes (the parent sets
// UV_THREADPOOL_SIZE), so a child is one core's worth of decoding.

const FRAME_BYTES_MAX = 64 * 1024 * 1024;

await serveParent(
  { service: 'decode', instance: `decode-${process.pid}`, window: 64, frameBytesMax: FRAME_BYTES_MAX },
  {
    handlers: {
      async decode(request, [bytes = Buffer.alloc(0)], context) {
        const start = performance.now();
        const decoded = await decodePicture(bytes, optionsOf(request));
        // Only here: where one of several passes fails, the others may still read.
        context.release();
        const transforms = decoded.pictures.map(({ transform }) => transform);
        const { type, width, height, kept, maskMs } = decoded;
        const decodeMs = performance.now() - start;
        const payloads = decoded.pictures.map(({ pixels }) => pixels);
        if (kept !== undefined) payloads.push(kept);
        return {
          body: {
            case: 'decoded',
            value: { type, width, height, transforms, decodeMs, maskMs: maskMs ?? 0, kept: kept !== undefined },
          },
          payloads,
        };
      },
    },
  },
);

function optionsOf({ pixelsMax, targets, masks, denoise, keepQuality }: link.Decode): DecodeOptions {
  return {
    pixelsMax,
    targets: targets.map(({ region, ...target }) => ({
      // The parent's words come from a passport that was checked there.
      ...(target as unknown as PictureTarget),
      ...(region.length === 0 ? {} : { region }),
    })),
    masks: masks.map(({ points }) => points),
    ...(denoise === undefined
      ? {}
      : { denoise: { median: denoise.median || undefined, gaussian: denoise.gaussian || undefined } }),
    ...(keepQuality === 0 ? {} : { keepQuality }),
  };
}

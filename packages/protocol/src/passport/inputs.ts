import { z } from 'zod';
import { ModelPath } from './path.ts';

// How a frame becomes the input tensors of a model. Shapes and types stand in the ONNX file and are never asked for here.

const Triple = z.tuple([z.number(), z.number(), z.number()]).or(z.tuple([z.number()]));
const Count = z.number().int().min(1);
const Rate = z.number().positive().max(384_000);

/** How a picture becomes the tensor. Normalisation is (x·scale − mean) / std on values of 0..255. */
export const ImageInputSchema = z.strictObject({
  width: z.number().int().min(1).max(4096),
  height: z.number().int().min(1).max(4096),
  fit: z.enum(['stretch', 'letterbox', 'crop']).default('stretch'),
  pad: z.number().int().min(0).max(255).default(0).describe('grey level around a letterboxed picture'),
  kernel: z
    .enum(['nearest', 'bilinear', 'bicubic', 'lanczos3'])
    .default('bilinear')
    .describe('anti-aliased when shrinking'),
  colour: z.enum(['rgb', 'bgr', 'grey']).default('rgb'),
  layout: z.enum(['nhwc', 'nchw']).default('nchw'),
  scale: z.number().default(1),
  mean: Triple.default([0, 0, 0]),
  std: Triple.default([1, 1, 1]),
});
export type ImageInput = z.infer<typeof ImageInputSchema>;

/** Mel-frequency cepstral coefficients, or with `bins` absent the log-mel spectrum itself. */
export const MfccSchema = z.strictObject({
  bins: Count.max(128).optional().describe('coefficients that are kept of the DCT-II; absent: the log-mel bands'),
  mels: Count.max(512),
  frame: Count.max(65_536).describe('samples under one Hann window'),
  stride: Count.max(65_536).describe('samples from one window to the next'),
  fft: Count.max(65_536).describe('length of the transform, a power of two, at least `frame`'),
  low_hz: z.number().min(0).default(20),
  high_hz: z.number().positive().default(4000),
  log_offset: z.number().min(0).default(1e-6).describe('added before the logarithm'),
  layout: z.enum(['time-bins', 'bins-time', 'time-bins-1', '1-time-bins']).default('time-bins'),
});
export type Mfcc = z.infer<typeof MfccSchema>;

export const AudioInputSchema = z.strictObject({
  rate_hz: Rate,
  window: Count.max(10_000_000).describe('samples that one unit decides about'),
  hop: Count.max(10_000_000).optional().describe('samples from one window to the next; default: window'),
  context: z
    .number()
    .int()
    .min(0)
    .max(1_000_000)
    .default(0)
    .describe('samples before the window that go in front of it'),
  normalise: z.enum(['none', 'peak']).default('none').describe('none: samples of -1..1; peak: divided by the largest'),
  mfcc: MfccSchema.optional(),
});
export type AudioInput = z.infer<typeof AudioInputSchema>;

/** Butterworth in second-order sections. */
const BandPassSchema = z.strictObject({
  low_hz: z.number().positive().describe('where 3 dB are lost, as at `high_hz`'),
  high_hz: z.number().positive().describe('above `low_hz`, below half of `rate_hz`'),
  order: Count.max(10).default(2).describe('of the low-pass it is made from, as in scipy.signal.butter'),
  phase: z
    .enum(['causal', 'zero'])
    .default('causal')
    .describe(
      'causal: once over the whole recording, state carried on, delayed (sosfilt); zero: forwards and backwards over each window, no delay (sosfiltfilt)',
    ),
});

/** After Pan & Tompkins (1985). */
const PeaksSchema = z.strictObject({
  band_hz: z
    .tuple([z.number().positive(), z.number().positive()])
    .default([5, 15])
    .describe('where a beat has its power'),
  refractory_ms: z.number().min(100).max(2000).default(250).describe('from one peak to the next at least'),
  channel: z.string().min(1).max(64).optional().describe('in which to look; default: the first'),
});

export const SignalInputSchema = z.strictObject({
  rate_hz: Rate,
  window: Count.max(1_000_000),
  hop: Count.max(1_000_000).optional().describe('default: window'),
  channels: z.array(z.string().min(1).max(64)).min(1).max(256),
  trigger: z
    .strictObject({ peaks: PeaksSchema })
    .optional()
    .describe('a unit for each heartbeat of an electrocardiogram instead of one every `hop`'),
  before: z
    .number()
    .int()
    .min(0)
    .max(1_000_000)
    .optional()
    .describe('samples of the window in front of the peak; default 0'),
  until: z.literal('next-peak').optional().describe('a unit ends before the next peak, or when the window is full'),
  pad: z.literal('zero').optional().describe('what fills the rest of the window then, after `normalise`'),
  rate_as: z.string().min(1).max(64).optional().describe('name in `values` for 60 s ÷ the time to the next peak'),
  median: Count.max(1023).optional().describe('first: the median of so many samples, odd, around each'),
  band_pass: BandPassSchema.optional().describe('then: only what lies in a band of frequencies'),
  detrend: z
    .enum(['none', 'constant', 'linear'])
    .default('none')
    .describe('then, per window and channel: without its mean, or its straight line'),
  normalise: z.enum(['none', 'z-score', 'min-max']).default('none').describe('at last, per window and channel'),
  layout: z.enum(['channels-time', 'time-channels']).default('channels-time'),
});
export type SignalInput = z.infer<typeof SignalInputSchema>;

/** A text becomes numbers of tokens, always `length_max` of them: what is longer is cut, what is shorter padded on the right. */
export const TextInputSchema = z.strictObject({
  tokenizer: ModelPath.describe('tokenizer.json of Hugging Face, listed in `files`'),
  length_max: Count.max(8192).describe('tokens, with those that the tokenizer puts around a text'),
  as: z
    .enum(['ids', 'mask', 'types'])
    .default('ids')
    .describe('numbers of the tokens · 1 for a token, 0 for padding · which sentence a token belongs to'),
  pad: z
    .number()
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .optional()
    .describe('number of the token that fills up; default: that of the tokenizer, else 0'),
});
export type TextInput = z.infer<typeof TextInputSchema>;

/** Numbers as they are: what the step before it in a chain gives, or a stream of tensors. */
const FeaturesInputSchema = z.strictObject({
  shape: z.array(Count.max(65_536)).min(1).max(8).describe('of one unit; in a chain, rows of the step before first'),
});

const tensor = z.string().min(1).max(200).describe('as the graph calls it');

/** A tensor that is the same for every unit. */
export const ConstantInputSchema = z.strictObject({
  tensor,
  constant: z
    .union([z.number(), z.array(z.number()).max(65_536)])
    .describe('a number is a scalar where the graph takes one'),
  dtype: z.enum([
    'float32',
    'float64',
    'float16',
    'int8',
    'uint8',
    'int16',
    'uint16',
    'int32',
    'uint32',
    'int64',
    'uint64',
    'bool',
  ]),
});
export type ConstantInput = z.infer<typeof ConstantInputSchema>;

export const InputSchema = z.union([
  z.strictObject({ tensor, image: ImageInputSchema }),
  z.strictObject({ tensor, audio: AudioInputSchema }),
  z.strictObject({ tensor, signal: SignalInputSchema }),
  z.strictObject({ tensor, text: TextInputSchema }),
  z.strictObject({ tensor, features: FeaturesInputSchema }),
  ConstantInputSchema,
]);
export type InputSpec = z.infer<typeof InputSchema>;

/** Recurrent state travels by value: the output of one unit is the input of the next of its stream. */
export const StateSchema = z.strictObject({
  in: tensor,
  out: tensor,
  shape: z.array(Count.max(65_536)).max(8).describe('for one unit, with 1 where the graph has its batch'),
  init: z.number().default(0).describe('every element, for the first unit'),
});
export type StateSpec = z.infer<typeof StateSchema>;

import { type AudioInput, BrinkError, type ConstantInput, type InputSpec, type Passport } from '@brink/protocol';
import { channelsOf } from './image.ts';
import { checkSignal } from './signal.ts';
import { checkMfcc } from './spectrum.ts';

/** How one input of a unit travels to the model, without the batch dimension; the model's own graph does the rest. */
export interface WireHead {
  /** of the tensor that it becomes, as the graph of the file calls it */
  readonly name: string;
  readonly dtype: 'uint8' | 'float32' | 'int32';
  /** picture: [height, width, channels]; audio: [samples] or as `mfcc.layout` says; signal: as `layout` says; text: [tokens]; state: as in the passport */
  readonly shape: readonly number[];
  readonly bytes: number;
}

/**
 * What a unit brings: every input of the passport that is no constant, in their order, then every state.
 * @throws BrinkError E_PASSPORT
 */
export function wireHeads(passport: Pick<Passport, 'inputs' | 'state'>): WireHead[] {
  const prepared = passport.inputs.filter(isPrepared);
  if (prepared.length > 1 && prepared.some((input) => 'signal' in input && input.signal.trigger !== undefined)) {
    throw new BrinkError('E_PASSPORT', 'inputs.signal.trigger stands beside other inputs; expected it alone');
  }
  checkTexts(prepared);
  const inputs = prepared.map((input) => {
    if ('text' in input) return headOf(input.tensor, 'int32', [input.text.length_max]);
    if ('features' in input) return headOf(input.tensor, 'float32', input.features.shape);
    if ('image' in input) {
      const { height, width } = input.image;
      return headOf(input.tensor, 'uint8', [height, width, channelsOf(input.image)]);
    }
    if ('audio' in input) return headOf(input.tensor, 'float32', audioShape(input.audio));
    checkSignal(input.signal);
    const { channels, window, layout } = input.signal;
    const shape = layout === 'channels-time' ? [channels.length, window] : [window, channels.length];
    return headOf(input.tensor, 'float32', shape);
  });
  return [...inputs, ...passport.state.map((state) => headOf(state.in, 'float32', state.shape))];
}

/** @throws BrinkError E_PASSPORT where a mask would not be that of the numbers beside it */
function checkTexts(inputs: readonly InputSpec[]): void {
  const texts = inputs.flatMap((input) => ('text' in input ? [input.text] : []));
  for (const key of ['tokenizer', 'length_max'] as const) {
    const values = [...new Set(texts.map((text) => text[key]))];
    if (values.length <= 1) continue;
    throw new BrinkError('E_PASSPORT', `inputs.text.${key} is ${values.join(' and ')}; expected one for all inputs`);
  }
}

/** The inputs that are made of a frame. */
export function isPrepared(input: InputSpec): input is Exclude<InputSpec, ConstantInput> {
  return !('constant' in input);
}

/** @throws BrinkError E_PASSPORT where the spectrum cannot be, or the window is shorter than one frame of it */
function audioShape({ rate_hz, window, context, mfcc }: AudioInput): number[] {
  const samples = context + window;
  if (mfcc === undefined) return [samples];
  checkMfcc(mfcc, rate_hz);
  const frames = Math.floor((samples - mfcc.frame) / mfcc.stride) + 1;
  if (frames < 1) {
    throw new BrinkError('E_PASSPORT', `inputs.audio.mfcc.frame is ${mfcc.frame}; the window has ${samples} samples`);
  }
  const bins = mfcc.bins ?? mfcc.mels;
  const shapes = {
    'time-bins': [frames, bins],
    'bins-time': [bins, frames],
    'time-bins-1': [frames, bins, 1],
    '1-time-bins': [1, frames, bins],
  };
  return shapes[mfcc.layout];
}

function headOf(name: string, dtype: WireHead['dtype'], shape: readonly number[]): WireHead {
  const elements = shape.reduce((product, size) => product * size, 1);
  return { name, dtype, shape, bytes: elements * (dtype === 'uint8' ? 1 : 4) };
}

/**
 * A frame of `format: tensor` is the wire tensor itself; nothing but its size can be checked.
 * @throws BrinkError E_SHAPE
 */
export function checkTensorBytes(bytes: number, head: WireHead): void {
  if (bytes === head.bytes) return;
  const shape = head.shape.join(' × ');
  throw new BrinkError(
    'E_SHAPE',
    `the frame has ${bytes} bytes; expected ${head.bytes}: ${head.dtype} ${shape} for "${head.name}"`,
  );
}

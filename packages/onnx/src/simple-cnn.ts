import { encode, graph, model, node, tensor, value } from './build.ts';

/**
 * The article's network, for benches that must not depend on shipped weights: Conv 3→16 3×3 p1, ReLU, MaxPool 2, FC 16·64·64→128,
 * ReLU, FC 128→10, fp32, 33.5 MB. `image` float32 [batch, 3, 128, 128] → `logits` float32 [batch, 10].
 * @param random uniform 0..1, so that a seed makes the same file
 */
export function simpleCnnGraph(random: () => number): Uint8Array {
  const uniform = (name: string, shape: number[], inputs: number) => {
    const bound = 1 / Math.sqrt(inputs); // PyTorch's default for weights and biases
    const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
    for (let i = 0; i < data.length; i++) data[i] = (2 * random() - 1) * bound;
    return tensor(name, shape, data);
  };
  const flat = 16 * 64 * 64;
  return encode(
    model(
      graph({
        name: 'simple-cnn',
        inputs: [value('image', 'float32', ['batch', 3, 128, 128])],
        outputs: [value('logits', 'float32', ['batch', 10])],
        tensors: [
          uniform('conv.weight', [16, 3, 3, 3], 27),
          uniform('conv.bias', [16], 27),
          uniform('fc1.weight', [128, flat], flat),
          uniform('fc1.bias', [128], flat),
          uniform('fc2.weight', [10, 128], 128),
          uniform('fc2.bias', [10], 128),
        ],
        nodes: [
          node('Conv', ['image', 'conv.weight', 'conv.bias'], ['conv'], { kernel_shape: [3, 3], pads: [1, 1, 1, 1] }),
          node('Relu', ['conv'], ['relu']),
          node('MaxPool', ['relu'], ['pool'], { kernel_shape: [2, 2], strides: [2, 2] }),
          node('Flatten', ['pool'], ['flat'], { axis: 1 }),
          node('Gemm', ['flat', 'fc1.weight', 'fc1.bias'], ['fc1'], { transB: 1 }),
          node('Relu', ['fc1'], ['fc1.relu']),
          node('Gemm', ['fc1.relu', 'fc2.weight', 'fc2.bias'], ['logits'], { transB: 1 }),
        ],
      }),
    ),
  );
}

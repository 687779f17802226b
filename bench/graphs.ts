import { encode, graph, model, node, tensor, value } from '@brink/onnx';

type Random = () => number;
type Tensors = ReturnType<typeof tensor>[];
type Nodes = ReturnType<typeof node>[];

/** A network that grows layer by layer. @param random uniform 0..1, so that a seed makes the same file */
function createNet(input: string, random: Random) {
  const tensors: Tensors = [];
  const nodes: Nodes = [];
  let last = input;

  function weights(name: string, shape: readonly number[], fanIn: number): string {
    const bound = Math.sqrt(6 / fanIn); // He et al. 2015, uniform: what comes out of ReLUs keeps its size
    const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
    for (let i = 0; i < data.length; i++) data[i] = (2 * random() - 1) * bound;
    tensors.push(tensor(name, shape, data));
    return name;
  }

  const net = {
    tensors,
    nodes,
    get last() {
      return last;
    },
    add(operator: string, more: readonly string[] = [], attributes: Parameters<typeof node>[3] = {}) {
      const out = `${operator.toLowerCase()}-${nodes.length}`;
      nodes.push(node(operator, [last, ...more], [out], attributes));
      last = out;
      return net;
    },
    /** With ReLU. @param o pads as ONNX has them; groups: as many as channels for a depthwise one */
    conv(channels: readonly [number, number], kernel: readonly [number, number], o: ConvOptions = {}) {
      const [from, to] = channels;
      const groups = o.groups ?? 1;
      const name = `conv-${nodes.length}`;
      const fanIn = (from / groups) * kernel[0] * kernel[1];
      const weight = weights(`${name}.weight`, [to, from / groups, ...kernel], fanIn);
      tensors.push(tensor(`${name}.bias`, [to], new Float32Array(to)));
      const attributes = { kernel_shape: kernel, strides: o.strides ?? [1, 1], pads: o.pads ?? [0, 0, 0, 0] };
      return net.add('Conv', [weight, `${name}.bias`], { ...attributes, group: groups }).add('Relu');
    },
    /** Mean over the picture, then a dense layer. */
    classify(channels: number, classes: number) {
      const weight = weights('fc.weight', [classes, channels], channels);
      tensors.push(tensor('fc.bias', [classes], new Float32Array(classes)));
      return net
        .add('GlobalAveragePool')
        .add('Flatten', [], { axis: 1 })
        .add('Gemm', [weight, 'fc.bias'], { transB: 1 });
    },
  };
  return net;
}

interface ConvOptions {
  readonly strides?: readonly [number, number];
  readonly pads?: readonly number[];
  readonly groups?: number;
}

function encodeNet(name: string, net: ReturnType<typeof createNet>, shape: (string | number)[], classes: number) {
  const outputs = [value('logits', 'float32', ['batch', classes])];
  const nodes = [...net.nodes, node('Identity', [net.last], ['logits'])];
  return encode(model(graph({ name, inputs: [value('x', 'float32', shape)], outputs, tensors: net.tensors, nodes })));
}

/**
 * A keyword spotter of the size of MLPerf Tiny's: DS-CNN of 64 channels, four depthwise separable blocks (2.7 M multiplications).
 * `x` float32 [batch, 49, 10] → `logits` float32 [batch, 12]. (Zhang et al. 2017, "Hello Edge"; mlcommons/tiny)
 */
export function dsCnnGraph(random: Random): Uint8Array {
  const net = createNet('x', random);
  net.tensors.push(tensor('picture', [4], BigInt64Array.of(-1n, 1n, 49n, 10n)));
  net.add('Reshape', ['picture']).conv([1, 64], [10, 4], { strides: [2, 2], pads: [4, 1, 5, 2] });
  for (let block = 0; block < 4; block++) {
    net.conv([64, 64], [3, 3], { pads: [1, 1, 1, 1], groups: 64 }).conv([64, 64], [1, 1]);
  }
  return encodeNet('ds-cnn', net.classify(64, 12), ['batch', 49, 10], 12);
}

/**
 * MobileNetV1 .5 on 128 × 128 (49 M multiplications). `x` float32 [batch, 3, 128, 128] → `logits` float32 [batch, 1000].
 * (Howard et al. 2017, table 1)
 */
export function mobileNetGraph(random: Random): Uint8Array {
  const blocks: readonly (readonly [from: number, to: number, stride: 1 | 2])[] = [
    [16, 32, 1],
    [32, 64, 2],
    [64, 64, 1],
    [64, 128, 2],
    [128, 128, 1],
    [128, 256, 2],
    [256, 256, 1],
    [256, 256, 1],
    [256, 256, 1],
    [256, 256, 1],
    [256, 256, 1],
    [256, 512, 2],
    [512, 512, 1],
  ];
  const pads = [1, 1, 1, 1];
  const net = createNet('x', random).conv([3, 16], [3, 3], { strides: [2, 2], pads });
  for (const [from, to, stride] of blocks) {
    net.conv([from, from], [3, 3], { strides: [stride, stride], pads, groups: from }).conv([from, to], [1, 1]);
  }
  return encodeNet('mobilenet-v1-050-128', net.classify(512, 1000), ['batch', 3, 128, 128], 1000);
}

// Makes packages/protocol/src/gen and packages/onnx/src/gen from the .proto files here. Needs `protoc` on the PATH
// (Debian: protobuf-compiler). The result is committed; a test compares its descriptors with the .proto files' text.
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const root = dirname(here);
const targets: ReadonlyArray<readonly [file: string, out: string]> = [
  ['brink/v1/link.proto', 'packages/protocol/src/gen'],
  ['inference/open_inference.proto', 'packages/protocol/src/gen'],
  ['onnx/onnx.proto', 'packages/onnx/src/gen'],
];

for (const [file, out] of targets) {
  const outDir = join(root, out);
  mkdirSync(outDir, { recursive: true });
  execFileSync(
    'protoc',
    [
      `--plugin=protoc-gen-es=${join(root, 'node_modules/.bin/protoc-gen-es')}`,
      `--proto_path=${here}`,
      `--es_out=${outDir}`,
      // JavaScript with declarations: the TypeScript target writes enums, which Node's type stripping cannot erase.
      '--es_opt=target=js+dts,import_extension=js',
      file,
    ],
    { stdio: 'inherit' },
  );
}

import { type Decision, isName } from '@brink/protocol';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Samples } from '../send/recording.ts';
import type { StreamOptions } from '../send/stream.ts';
import { type Edge, number, verb, wholeNumber, withApi } from '../verb.ts';

interface SendOptions extends StreamOptions {
  http?: boolean;
}

const EXAMPLES = [
  'brink send cam-9 front packages/device/pictures/chelsea.png',
  'brink send cam-9 front pictures/ --fps 5 --repeat 0 --watch',
  'brink send mic-1 speech meeting.wav --chunk 500 --watch',
  'brink send pad-1 notes - --lines --watch',
  'brink send pump-1 vibration log.csv --rows 50 --hz 100 --keep outbox --watch',
  'ffmpeg … -f image2pipe -c:v mjpeg - | brink send cam-7 front --mjpeg -',
  'brink send cam-8 front --snapshot http://192.168.1.40/capture --every 1000',
];

const EXITS = `Exit 0: sent, and nothing is known to have gone wrong. Files without an option on pace: each was decided. Otherwise control
is asked for a second what became of the last frames; where it does not answer, 0 says that the broker has them, with --keep
that the gateway has. Exit 1: something was refused, dead or not sent, has no receipt, or no decision (with --watch). Exit 2: called wrongly.`;

/**
 * `brink send <device> <stream> [what…]`: files one after the other, each with its decisions; or many frames at their pace.
 * Exit 1 when a file got no decision or one that is dead, a frame was refused or has no receipt, or nothing could be sent.
 */
export function addSend(program: Command, edge: Edge): void {
  const command = withApi(program.command('send'))
    .description(
      'publish frames of a device: files one after the other, each with what was decided; with one of the options on pace, cutting ' +
        'or bridging, all of them at their pace',
    )
    .argument('<device>', 'as cam-9', name)
    .argument('<stream>', 'as front', name)
    .argument('[files...]', 'files, folders (the files in them, by name), - for stdin')
    .option('--http', 'post to /v1/frames instead of publishing over MQTT')
    .option('--mqtt-url <url>', 'the broker (BRINK_MQTT_URL, else mqtt://127.0.0.1:1883)')
    .option('--username <name>', "the device's, where the broker asks for one")
    .option('--password-file <file>', 'file with its password')
    .option('--wait-ms <ms>', 'for decisions, and for a lost connection to come back', wholeNumber(0, 60_000), 3000);
  addPace(command);
  addCutting(command);
  addBridges(command);
  command
    .option('--keep <folder>', 'keep frames there until the gateway gave a receipt (durable streams)')
    .option('--watch', 'print decisions as they come, from control')
    .hook('preAction', () => refuseMix(command));
  command.addHelpText('after', `\n${EXITS}`);
  verb<SendOptions>(edge, command, EXAMPLES, async (context, options, device = '', stream = '', ...files) => {
    // Loaded when they are needed: the other verbs start faster without MQTT.
    if (streams(options)) {
      const { sendStream } = await import('../send/stream.ts');
      return (await sendStream(context, options, { device, stream, files })) ? 0 : 1;
    }
    const { askOverHttp, askOverMqtt } = await import('../send/ask.ts');
    const ask = options.http === true ? askOverHttp : askOverMqtt;
    const results = await ask(context, options, { device, stream, files });
    if (context.json) context.terminal.line(JSON.stringify({ items: results }));
    const decided = ({ decisions }: { decisions: readonly Decision[] }) =>
      decisions.length > 0 && decisions.every(({ outcome }) => outcome === 'decided');
    return results.every(decided) ? 0 : 1;
  });
}

function addPace(command: Command): void {
  command
    .addOption(
      new Option('--fps, --rate <n>', 'so many frames a second').argParser(number(0.001, 10_000)).conflicts('fast'),
    )
    .option('--fast', 'as fast as the broker takes them, not in real time')
    .option('--repeat <n>', 'all of it so many times; 0: until Ctrl-C', wholeNumber(0, 1e9), 1)
    .option('--count <n>', 'at most so many frames', wholeNumber(1, 1e12));
}

function addCutting(command: Command): void {
  command
    .option('--chunk <ms>', 'cut a recording into frames that last so long, in real time', number(1, 600_000))
    .option('--pcm <form>', 'how raw samples lie, as s16:16000 or f32:125:3 (rate, channels)', samples)
    .option('--headerless', 'send the samples of a WAV without a header: raw PCM')
    .addOption(
      new Option('--rows <n>', 'cut CSV, JSON or JSON lines into frames of so many rows')
        .argParser(wholeNumber(1, 1e6))
        .conflicts('chunk'),
    )
    .addOption(new Option('--lines', 'each line is a frame, as of texts').conflicts(['chunk', 'rows']))
    .option('--hz <n>', 'rows a second: in real time, and what --chunk means for rows', number(0.001, 1e6))
    .option('--at', 'say the position of the first sample of each frame (needs a broker with MQTT 5)');
}

function addBridges(command: Command): void {
  const alone = ['snapshot', 'chunk', 'rows', 'lines', 'repeat', 'rate', 'keep', 'at'];
  command
    .addOption(
      new Option(
        '--mjpeg <file>',
        'a stream of JPEGs, - for stdin; the newest is sent when the broker is slow',
      ).conflicts(alone),
    )
    .option('--idle-ms <ms>', 'give up when no picture comes for so long; 0: never', wholeNumber(0, 86_400_000), 30_000)
    .addOption(
      new Option('--snapshot <url>', 'fetch a picture again and again')
        .argParser(httpUrl)
        .conflicts(alone.filter((option) => option !== 'snapshot')),
    )
    .option('--every <ms>', 'from one snapshot to the next', wholeNumber(10, 86_400_000), 1000)
    .option('--timeout-ms <ms>', 'for one snapshot', wholeNumber(50, 120_000), 5000)
    .option('--auth-file <file>', 'file with user:password of the camera (basic authentication)');
}

/** Whether frames go out at their pace, and are not asked about one by one. */
const streams = (options: SendOptions): boolean =>
  options.repeat !== 1 ||
  options.fast === true ||
  options.lines === true ||
  options.watch === true ||
  [options.mjpeg, options.snapshot, options.chunk, options.rows, options.rate, options.count, options.keep].some(
    (option) => option !== undefined,
  );

/** What no single option can say. Exit 2. */
function refuseMix(command: Command): void {
  const options = command.opts<SendOptions>();
  const files = command.args.slice(2);
  const bridge = options.mjpeg !== undefined || options.snapshot !== undefined;
  const stdins = files.filter((file) => file === '-').length;
  const cut = options.chunk !== undefined || options.rows !== undefined;
  const wrong: [boolean, string][] = [
    [bridge && files.length > 0, 'files beside --mjpeg or --snapshot; expected one of them'],
    [
      !bridge && files.length === 0 && options.keep === undefined,
      'nothing to send; expected files, --mjpeg or --snapshot',
    ],
    [options.http === true && streams(options), '--http posts files one by one; it goes with none of these options'],
    [stdins > 1 || (stdins > 0 && options.repeat !== 1), 'stdin can be read once; expected one "-", without --repeat'],
    [options.at === true && !cut, '--at says positions of samples; it needs --chunk or --rows'],
    [options.pcm !== undefined && options.chunk === undefined, '--pcm says how to cut; it needs --chunk'],
  ];
  for (const [holds, text] of wrong) if (holds) command.error(`error: ${text}`, { exitCode: 2 });
}

function name(text: string): string {
  if (!isName(text))
    throw new InvalidArgumentError('a name is 1 to 64 of a-z, 0-9 and "-", and starts with a letter or digit');
  return text;
}

const SAMPLE_BYTES: Record<string, number> = { u8: 1, s16: 2, s24: 3, s32: 4, f32: 4 };

function samples(text: string): Samples {
  const [, kind = '', rate = '', channels = '1'] = /^(\w+):(\d{1,7})(?::(\d{1,4}))?$/.exec(text) ?? [];
  const bytes = SAMPLE_BYTES[kind];
  if (bytes === undefined || Number(rate) === 0 || Number(channels) === 0)
    throw new InvalidArgumentError(`expected ${Object.keys(SAMPLE_BYTES).join(', ')} with a rate, as s16:16000`);
  return { rateHz: Number(rate), blockBytes: bytes * Number(channels) };
}

function httpUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) throw new InvalidArgumentError('expected http://host/path');
  // It would stand in the list of processes, and in messages.
  if (url.username !== '') throw new InvalidArgumentError('no password in an address; expected --auth-file');
  return text;
}

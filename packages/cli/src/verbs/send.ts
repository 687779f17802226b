import { isName } from '@brink/protocol';
import { type Command, InvalidArgumentError } from 'commander';
import type { SendOptions } from '../send.ts';
import { type Edge, verb, wholeNumber, withApi } from '../verb.ts';

/** `brink send <device> <stream> <file…>`: one after the other, each with its decisions. Exit 1 when one got none. */
export function addSend(program: Command, edge: Edge): void {
  const command = withApi(program.command('send'))
    .description('publish files as frames of a device and print what was decided')
    .argument('<device>', 'as cam-9', name)
    .argument('<stream>', 'as front', name)
    .argument('<files...>')
    .option('--http', 'post to /v1/frames instead of publishing over MQTT')
    .option('--mqtt-url <url>', 'the broker (BRINK_MQTT_URL, else mqtt://127.0.0.1:1883)')
    .option('--username <name>', "the device's, where the broker asks for one")
    .option('--password-file <file>', 'file with its password')
    .option('--wait-ms <ms>', 'for the decisions of each file', wholeNumber(0, 60_000), 3000);
  const example = [
    'brink send cam-9 front packages/device/pictures/chelsea.png',
    'brink send cam-9 front *.jpg --username cam-9 --password-file cam-9.password',
    'brink send cam-9 front cat.jpg --http',
  ];
  verb<SendOptions>(edge, command, example, async (context, options, device = '', stream = '', ...files) => {
    // Loaded when they are needed: the other verbs start faster without MQTT.
    const { sendOverHttp, sendOverMqtt } = await import('../send.ts');
    const send = options.http === true ? sendOverHttp : sendOverMqtt;
    const results = await send(context, options, { device, stream, files });
    const decided = results.every((result) => result.decisions.length > 0);
    if (context.json) context.terminal.line(JSON.stringify({ items: results }));
    return decided ? 0 : 1;
  });
}

function name(text: string): string {
  if (!isName(text))
    throw new InvalidArgumentError('a name is 1 to 64 of a-z, 0-9 and "-", and starts with a letter or digit');
  return text;
}

import { BrinkError } from './errors.ts';
import { isBoot, isName, parseSeq } from './ids.ts';

/** What a topic means. One entry per row of the topic table. */
export type Topic =
  | { kind: 'frame'; device: string; stream: string; id?: { boot: string; seq: number } }
  | { kind: 'retired'; device: string; stream: string }
  | { kind: 'status'; device: string }
  | { kind: 'acks'; device: string }
  | { kind: 'command'; device: string; name: string }
  | { kind: 'receipts'; device: string; stream: string }
  | { kind: 'decisions'; device: string; stream: string }
  | { kind: 'state'; device: string }
  | { kind: 'fleet'; service: string; instance: string }
  | { kind: 'config' };

/** Builds and parses every topic of Brink under one root. @param root one level, default `brink` */
export function createTopics(root = 'brink') {
  const up = (device: string, rest: string) => `${root}/${device}/up/${rest}`;
  const down = (device: string, rest: string) => `${root}/${device}/down/${rest}`;

  function format(topic: Topic): string {
    switch (topic.kind) {
      case 'frame': {
        const id = topic.id === undefined ? '' : `/${topic.id.boot}-${topic.id.seq}`;
        return up(topic.device, `frames/${topic.stream}${id}`);
      }
      case 'retired':
        return up(topic.device, `retired/${topic.stream}`);
      case 'status':
        return up(topic.device, 'status');
      case 'acks':
        return up(topic.device, 'acks');
      case 'command':
        return down(topic.device, `commands/${topic.name}`);
      case 'receipts':
        return down(topic.device, `receipts/${topic.stream}`);
      case 'decisions':
        return down(topic.device, `decisions/${topic.stream}`);
      case 'state':
        return `${root}/${topic.device}/state`;
      case 'fleet':
        return `${root}/fleet/${topic.service}/${topic.instance}`;
      case 'config':
        return `${root}/fleet/config`;
    }
  }

  /** @throws BrinkError E_TOPIC or E_NAME, with the level that is wrong */
  function parse(text: string): Topic {
    const levels = text.split('/');
    const [first, device, direction] = levels;
    if (first !== root || device === undefined) throw unknown(text);
    if (device === 'fleet') return parseFleet(text, levels);
    named('device', device, text);
    if (direction === 'up') return parseUp(text, device, levels.slice(3));
    if (direction === 'down') return parseDown(text, device, levels.slice(3));
    if (direction === 'state' && levels.length === 3) return { kind: 'state', device };
    throw unknown(text);
  }

  return {
    root,
    format,
    parse,
    /** Subscription filters, one per kind, over all devices. */
    filters: {
      frames: `${root}/+/up/frames/#`,
      retired: `${root}/+/up/retired/+`,
      status: `${root}/+/up/status`,
      acks: `${root}/+/up/acks`,
      decisions: `${root}/+/down/decisions/+`,
      fleet: `${root}/fleet/+/+`,
      config: `${root}/fleet/config`,
      /** What one device may receive. */
      ofDevice: (device: string) => `${root}/${device}/down/#`,
    },
  };
}

export type Topics = ReturnType<typeof createTopics>;

function parseFleet(text: string, levels: string[]): Topic {
  const [, , service, instance] = levels;
  if (levels.length === 3 && service === 'config') return { kind: 'config' };
  if (levels.length === 4 && service !== undefined && instance !== undefined && isName(service) && isName(instance)) {
    return { kind: 'fleet', service, instance };
  }
  throw unknown(text);
}

function parseUp(text: string, device: string, rest: string[]): Topic {
  const [verb, stream, id, ...more] = rest;
  if (verb === 'status' && rest.length === 1) return { kind: 'status', device };
  if (verb === 'acks' && rest.length === 1) return { kind: 'acks', device };
  if ((verb !== 'frames' && verb !== 'retired') || stream === undefined || more.length > 0) throw unknown(text);
  named('stream', stream, text);
  if (verb === 'retired') {
    if (id !== undefined) throw unknown(text);
    return { kind: 'retired', device, stream };
  }
  return id === undefined
    ? { kind: 'frame', device, stream }
    : { kind: 'frame', device, stream, id: frameId(id, text) };
}

function parseDown(text: string, device: string, rest: string[]): Topic {
  const [verb, name, ...more] = rest;
  if (name === undefined || more.length > 0) throw unknown(text);
  named('name', name, text);
  if (verb === 'commands') return { kind: 'command', device, name };
  if (verb === 'receipts') return { kind: 'receipts', device, stream: name };
  if (verb === 'decisions') return { kind: 'decisions', device, stream: name };
  throw unknown(text);
}

/** `k3v9-1042` at the end of a frame topic. */
function frameId(text: string, topic: string): { boot: string; seq: number } {
  const [boot, digits, ...more] = text.split('-');
  const seq = parseSeq(digits);
  if (boot === undefined || seq === undefined || more.length > 0 || !isBoot(boot)) {
    throw new BrinkError(
      'E_TOPIC',
      `"${clip(text)}" in "${clip(topic)}" is no frame id; expected <boot>-<seq>, as k3v9-1042`,
    );
  }
  return { boot, seq };
}

function named(what: string, text: string, topic: string): void {
  if (!isName(text)) {
    throw new BrinkError(
      'E_NAME',
      `${what} "${clip(text)}" in topic "${clip(topic)}"; expected [a-z0-9][a-z0-9-]{0,63}`,
    );
  }
}

function unknown(topic: string): BrinkError {
  return new BrinkError('E_TOPIC', `"${clip(topic)}"; expected <root>/{device}/up|down/… or <root>/fleet/…`);
}

const clip = (text: string) => (text.length > 120 ? `${text.slice(0, 120)}…` : text);

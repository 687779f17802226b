// A device that may be killed, and that knows nothing: it acknowledges whatever arrives, and writes it down before. Without the
// SDK, which would hide what comes twice.
import { appendFileSync } from 'node:fs';
import { connect } from 'mqtt';

const { URL = '', NAME = '', FILE = '' } = process.env;
const client = connect(URL, { clientId: NAME, reconnectPeriod: 100, connectTimeout: 2000 });
client.on('error', () => {});
client.on('connect', () => client.subscribe(`brink/${NAME}/down/commands/#`, { qos: 1 }));
client.on('message', (_, payload) => {
  // What remains of its life is less each time.
  const { key, expires_ms: _life, ...body } = JSON.parse(String(payload)) as { key: string; expires_ms: number };
  appendFileSync(FILE, `${JSON.stringify({ key, body: JSON.stringify(body) })}\n`);
  client.publish(`brink/${NAME}/up/acks`, JSON.stringify({ key, status: 200 }), { qos: 1 });
});
process.stdin.on('end', () => process.exit()).resume();

// A receiver of webhooks that may be killed: what arrives is in its file before it is answered.
import { appendFileSync } from 'node:fs';
import { createServer } from 'node:http';

const { PORT = '', FILE = '' } = process.env;
createServer(async (request, response) => {
  let body = '';
  for await (const piece of request) body += String(piece);
  const line = { key: String(request.headers['webhook-id']), body };
  appendFileSync(FILE, `${JSON.stringify(line)}\n`);
  response.writeHead(204).end();
}).listen(Number(PORT), '127.0.0.1');
process.stdin.on('end', () => process.exit()).resume();

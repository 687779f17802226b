// The health check of a container, `node ready.js <port>`: exit 0 when /readyz of the service in it says 200. Plain JavaScript and one request,
// because it starts every few seconds. Loopback: the operations port is not published.
import { get } from 'node:http';

const request = get({ host: '127.0.0.1', port: Number(process.argv[2]), path: '/readyz', timeout: 2000 }, (reply) => {
  reply.setEncoding('utf8');
  let body = '';
  reply.on('data', (text) => {
    if (body.length < 2000) body += text;
  });
  reply.on('end', () => {
    process.stdout.write(`${body}\n`); // docker inspect shows it: why a service is not ready
    process.exit(reply.statusCode === 200 ? 0 : 1);
  });
});
request.on('timeout', () => request.destroy(new Error('no answer within 2 s')));
request.on('error', (error) => {
  process.stdout.write(`${error.message}\n`);
  process.exit(1);
});

import type { Status } from '@brink/protocol';
import type { App } from '../app.ts';
import type { Guard } from '../guard.ts';
import { type Html, html, page } from '../page.ts';

/** `/`: what runs and where to look, for people who open the address in a browser. The dashboard takes its place later. */
export function addHome(
  app: App,
  d: {
    guard: Guard;
    status: () => Promise<Status>;
    streams: () => readonly string[];
    topicRoot: string;
    /** Its URL, where that is known. */
    broker: string | undefined;
  },
): void {
  app.get('/', { schema: { hide: true } }, async (request, reply) => {
    const body = d.guard.authorised(request)
      ? now(await d.status())
      : html`<p>This site asks for a token:</p>
<pre>curl -H "authorization: Bearer $(cat token)" http://${request.headers.host ?? 'localhost'}/v1/status</pre>`;
    const known = d.guard.authorised(request);
    const stream = (known ? d.streams()[0] : undefined) ?? 'front';
    const topic = `${d.topicRoot}/cam-9/up/frames/${stream}`;
    const publish = `mosquitto_pub ${known ? at(d.broker) : ''}-t ${topic} -f cat.jpg`;
    const there = where(request.headers.host ?? 'localhost:8080', stream, publish);
    return reply.type('text/html; charset=utf-8').send(page('Brink', html`${body}${there}`));
  });
}

function now(status: Status): Html {
  const services = status.services.map(
    ({ service, instance, state, ready, problems = [] }) => html`<tr><td>${service}</td><td>${instance}</td>
<td>${state}${ready === false ? ', not ready' : ''}</td><td>${problems.join('; ')}</td></tr>`,
  );
  const holds = status.laws.streams.holds && status.laws.pipelines.holds;
  return html`<dl>
<dt>Site</dt><dd>${status.site}</dd>
<dt>Configuration</dt><dd>${status.configuration.revision}${status.configuration.error === null ? '' : ', the files have an error'}</dd>
<dt>Decisions</dt><dd>${status.ledger.n}</dd>
<dt>Nothing lost</dt><dd>${holds ? 'yes, every frame is accounted for' : 'no: see /v1/status'}</dd></dl>
<h2>Services</h2>
<div class="wide"><table><tbody>${services}</tbody></table></div>`;
}

/** `-h 127.0.0.1 -p 1893 `; nothing where nobody said what devices call the broker. */
function at(broker: string | undefined): string {
  if (broker === undefined || !URL.canParse(broker)) return '';
  const { hostname, port } = new URL(broker);
  return `-h ${hostname} -p ${port === '' ? 1883 : port} `;
}

function where(host: string, stream: string, publish: string): Html {
  const links = [
    ['/v1/status', 'what runs, and whether anything was lost'],
    ['/v1/decisions?limit=5', 'the latest decisions'],
    ['/v1/actions?limit=5', 'the latest actions'],
    ['/v1/dead?limit=5', 'the latest frames that were refused, and why'],
    ['/v1/recordings', 'recordings that rules made'],
    ['/v1/rules', 'rules, and where each of them stands'],
    ['/v1/config/revisions?limit=5', 'which configurations were active'],
    ['/v1/devices', 'devices that were seen'],
    ['/v1/discovered', 'frames that no stream takes yet'],
    ['/docs/', 'every address, to try'],
    ['/docs/errors', 'every error code'],
    ['/schemas/v1', 'schemas of every format'],
  ].map(([address, meaning]) => html`<dt><a href="${address}">${address}</a></dt><dd>${meaning}</dd>`);
  return html`<h2>Where to look</h2>
<dl>${links}</dl>
<h2>To try</h2>
<pre>curl --data-binary @cat.jpg "http://${host}/v1/frames/cam-9/${stream}?wait_ms=5000"
curl -N http://${host}/v1/events
${publish}</pre>`;
}

import type { Scope } from '@brink/protocol';

/** Where a request says which device it is about. What says it nowhere is closed to tokens that are for some devices only. */
type DevicePlace = 'path' | 'query' | 'decision';

export interface Right {
  /** `open`: says nothing of the site, and needs no token. */
  readonly scope: Scope | 'open';
  readonly device?: DevicePlace;
  /** Changes nothing, whatever its method; or is evidence of its own (a posted frame). */
  readonly audit?: false;
}

const read = { scope: 'status:read' } as const;
const decisions = { scope: 'decisions:read' } as const;
const decision = { scope: 'decisions:read', device: 'decision' } as const;
const orders = { scope: 'commands:write' } as const;
const rules = { scope: 'rules:write' } as const;
const config = { scope: 'config:write' } as const;
const models = { scope: 'models:admin' } as const;
const devices = { scope: 'devices:admin', device: 'path' } as const;
const tokens = { scope: 'tokens:admin' } as const;
const run = { scope: 'models:run', audit: false } as const;
const open = { scope: 'open' } as const;

/**
 * The one table of who may do what: by method and address, as routes are written. What is not in it is for `admin` alone, so that
 * a route that somebody forgot is closed. A test compares it with what is served.
 */
export const RIGHTS: Readonly<Record<string, Right>> = {
  'GET /v1/status': read,
  'GET /v1/discovered': read,
  'GET /v1/streams': read,
  'GET /v1/streams/:name': read,
  'GET /v1/rules': read,
  'GET /v1/rules/:name': read,
  'GET /v1/models': read,
  'GET /v1/models/:name': read,
  'GET /v1/devices': read,
  'GET /v1/devices/:id': { scope: 'status:read', device: 'path' },

  'GET /v1/devices/:id/state': { scope: 'decisions:read', device: 'path' },
  'GET /v1/decisions': { scope: 'decisions:read', device: 'query' },
  'GET /v1/decisions/summary': { scope: 'decisions:read', device: 'query' },
  'GET /v1/decisions/:id': decision,
  'GET /v1/decisions/:id/explain': decision,
  'GET /v1/actions': decisions,
  'GET /v1/actions/:id': decisions,
  'GET /v1/actions/:id/explain': decisions,
  'GET /v1/dead': { scope: 'decisions:read', device: 'query' },
  'GET /v1/dead/:id': decisions,
  'GET /v1/events': decisions,
  'GET /v1/rules/:name/state': decisions,

  'POST /v1/frames/:device/:stream': { scope: 'frames:write', device: 'path', audit: false },
  'GET /v1/recordings': { scope: 'frames:read', device: 'query' },
  'GET /v1/recordings/:id': { scope: 'frames:read' },
  'GET /v1/recordings/:id/frames/:i': { scope: 'frames:read' },

  'POST /v1/devices/:id/commands': { scope: 'commands:write', device: 'path' },
  'POST /v1/actions/:id/retry': orders,
  'POST /v1/actions/:id/cancel': orders,
  'POST /v1/actions/retry': orders,
  'POST /v1/dead/:id/retry': orders,

  'GET /v1/targets/:name/state': read,
  'GET /v1/targets': { scope: 'config:read' },
  'GET /v1/targets/:name': { scope: 'config:read' },
  'GET /v1/config': { scope: 'config:read' },
  'POST /v1/config/validate': { scope: 'config:read', audit: false },
  'GET /v1/config/revisions': { scope: 'config:read' },
  'GET /v1/config/revisions/:revision': { scope: 'config:read' },
  'PUT /v1/config': config,
  'GET /v1/config/revisions/:revision/diff': { scope: 'config:read' },
  'POST /v1/config/revisions/:revision/activate': config,
  'PUT /v1/site': config,
  'PUT /v1/streams/:name': config,
  'DELETE /v1/streams/:name': config,
  'PUT /v1/targets/:name': config,
  'DELETE /v1/targets/:name': config,
  'PUT /v1/rules/:name': rules,
  'DELETE /v1/rules/:name': rules,
  'POST /v1/rules/test': { scope: 'decisions:read', audit: false },
  'POST /v1/rules/:name/arm': orders,
  'POST /v1/rules/:name/disarm': orders,
  'POST /v1/rules/:name/snooze': orders,
  'POST /v1/rules/:name/fire': orders,
  'PUT /v1/models/:name': models,
  'DELETE /v1/models/:name': models,
  'PATCH /v1/models/:name': models,
  'GET /v1/models/:name/versions': read,
  'POST /v1/models/:name/versions': models,

  'POST /v1/devices': { scope: 'devices:admin' },
  'PATCH /v1/devices/:id': devices,
  'DELETE /v1/devices/:id': devices,
  'POST /v1/devices/:id/credentials': devices,
  'DELETE /v1/devices/:id/credentials': devices,

  'GET /v1/tokens': tokens,
  'POST /v1/tokens': tokens,
  'GET /v1/tokens/:id': tokens,
  'DELETE /v1/tokens/:id': tokens,
  'GET /v1/ledger': read,
  'POST /v1/ledger/damage/accept': { scope: 'admin' },
  'POST /v1/ledger/copies': { scope: 'admin' },

  'GET /v1/audit': { scope: 'audit:read' },
  'GET /v1/audit/check': { scope: 'audit:read' },

  'GET /v2': run,
  'POST /v2': run,
  'GET /v2/*': run,
  'POST /v2/*': run,
  // What others run is loaded and unloaded there.
  'POST /v2/repository/models/*': models,

  // A browser cannot send the token.
  'GET /': open,
  'GET /style.css': open,
  'GET /schemas/v1': open,
  'GET /schemas/v1/:file': open,
};

const CLOSED: Right = { scope: 'admin' };
const DOCS = /^\/docs(\/|$)/;

/** @param url of the route, as it is written; undefined: there is none */
export function rightOf(method: string, url: string | undefined): Right {
  if (url === undefined) return { ...CLOSED, audit: false };
  if (DOCS.test(url)) return open;
  const name = method === 'HEAD' ? 'GET' : method;
  return RIGHTS[`${name} ${url}`] ?? CLOSED;
}

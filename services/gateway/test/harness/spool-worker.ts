import { existsSync } from 'node:fs';
import { serveSpool } from '../../src/spool/serve.ts';

// The spool's thread, with accidents. Its command line is a query:
//   point, n, action   at the n-th passing of a failpoint: `exit` ends the thread, `kill` the process, as `kill -9` does
//   pages, more        the file may have so many pages (SQLITE_FULL beyond) until there is a file of the name `more`
//   ballast            bytes of it

const query = new URLSearchParams(process.argv[2]);
const [pages, more, ballast] = [Number(query.get('pages') ?? 0), query.get('more') ?? '', query.get('ballast')];
let left = Number(query.get('n') ?? 1);

await serveSpool({
  ...(ballast === null ? {} : { ballastBytes: Number(ballast) }),
  failpoint(name) {
    if (name !== query.get('point')) return;
    left -= 1;
    if (left !== 0) return;
    if (query.get('action') === 'kill') process.kill(process.pid, 'SIGKILL');
    process.exit(1);
  },
  prepare(db) {
    if (pages > 0) db.exec(`PRAGMA max_page_count = ${existsSync(more) ? 1_000_000 : pages}`);
  },
});

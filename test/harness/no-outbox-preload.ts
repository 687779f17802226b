// Before control: it is then one without an outbox, whatever had not ended when it starts is forgotten, as if it had only been in memory.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

const file = join(process.env.BRINK_DATA_DIR ?? '', 'ledger.db');
if (existsSync(file)) {
  const ledger = new DatabaseSync(file);
  ledger.exec("UPDATE action SET state = 'cancelled', ended_ms = created_ms, next_ms = NULL WHERE next_ms IS NOT NULL");
  ledger.close();
}

import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';

/** What SQLite needs to take rows out on a full disk: a checkpoint may make the file as much longer as the WAL is (8 MB), and then a WAL. */
const BALLAST_BYTES = 16 * 1024 * 1024;

/**
 * Room on the disk that is given up when the disk is full. SQLite cannot even delete then (a delete writes to the WAL first), so
 * without it a store that filled its disk could never be emptied.
 * @param path of the file that takes the room; its folder exists
 */
export function createBallast(path: string, bytes = BALLAST_BYTES) {
  return {
    get there() {
      return existsSync(path);
    },
    /** @returns whether the room is kept; false where the disk has not got so much */
    make(): boolean {
      if (existsSync(path)) return true;
      let file: number | undefined;
      try {
        // Written under another name: a half ballast that a crash left must not pass for a whole one.
        file = openSync(`${path}.part`, 'w', 0o600);
        const chunk = new Uint8Array(1024 * 1024);
        for (let at = 0; at < bytes; ) at += writeSync(file, chunk, 0, Math.min(chunk.byteLength, bytes - at));
        fsyncSync(file);
        closeSync(file);
        file = undefined;
        renameSync(`${path}.part`, path);
        return true;
      } catch {
        if (file !== undefined) closeSync(file);
        rmSync(`${path}.part`, { force: true });
        return false;
      }
    },
    release(): void {
      rmSync(path, { force: true });
    },
  };
}

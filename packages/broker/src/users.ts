import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { BrinkError, isName } from '@brink/protocol';
import { z } from 'zod';
import { ROLES, type Role } from './rights.ts';

const UserSchema = z
  .strictObject({
    username: z
      .string()
      .regex(/^[\w.-]{1,64}$/, 'expected 1 to 64 of letters, digits, "_", "." and "-"')
      .describe('of a device: its name, and its client id too'),
    role: z.enum(ROLES),
    password: z.string().min(1).optional(),
    sha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/, 'expected the SHA-256 of the password, as 64 hexadecimal digits')
      .optional(),
  })
  .refine((user) => (user.password === undefined) !== (user.sha256 === undefined), {
    message: 'expected either password or sha256',
  })
  .refine((user) => user.role !== 'device' || (isName(user.username) && user.username !== 'fleet'), {
    message: 'expected the name of a device: [a-z0-9][a-z0-9-]{0,63}, not "fleet"',
    path: ['username'],
  });
export type User = z.infer<typeof UserSchema>;

/** `{"users":[{"username":"cam-1","role":"device","sha256":"…"}]}` */
export const UsersFileSchema = z.strictObject({ users: z.array(UserSchema).max(100_000) });

/** @throws BrinkError E_SETTING, naming the file and what is wrong in it, never what a password is */
export function readUsers(file: string): User[] {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    const why = error instanceof SyntaxError ? 'it is not JSON' : BrinkError.from(error).detail;
    throw new BrinkError('E_SETTING', `users file ${file} cannot be read: ${why}`);
  }
  const parsed = UsersFileSchema.safeParse(json);
  if (parsed.success) return parsed.data.users;
  const problems = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'the file'}: ${issue.message}`);
  throw new BrinkError('E_SETTING', `users file ${file}: ${problems.slice(0, 10).join('; ')}`);
}

/** The same; a file that is not there yet names nobody. */
export function readUsersIfAny(file: string): User[] {
  return statSync(file, { throwIfNoEntry: false }) === undefined ? [] : readUsers(file);
}

/**
 * A new password: 256 random bits. Because it is that random, one SHA-256 is enough to keep it by; a slow hash, made for
 * passwords that people choose, would let anybody load the broker with wrong CONNECTs.
 */
export function issuePassword(username: string): { password: string; sha256: string } {
  const password = `brk_${username}_${randomBytes(32).toString('base64url')}`;
  return { password, sha256: digest(password).toString('hex') };
}

export interface UserTable {
  /** @returns undefined where there is no such user or the password is wrong; which of the two takes equally long */
  verify(username: string, password: Uint8Array): { username: string; role: Role } | undefined;
  has(username: string): boolean;
  /** Changes with the password and the role; undefined where there is no such user. */
  fingerprintOf(username: string): string | undefined;
}

/** @throws BrinkError E_SETTING when a user name comes twice */
export function createUserTable(users: readonly User[]): UserTable {
  const table = new Map<string, { role: Role; sha256: Buffer }>();
  for (const user of users) {
    if (table.has(user.username)) throw new BrinkError('E_SETTING', `user "${user.username}" is there twice`);
    const sha256 = user.sha256 === undefined ? digest(user.password ?? '') : Buffer.from(user.sha256, 'hex');
    table.set(user.username, { role: user.role, sha256 });
  }
  const nobody = { role: 'device' as const, sha256: randomBytes(32) };
  return {
    verify(username, password) {
      const user = table.get(username) ?? nobody;
      const same = timingSafeEqual(digest(password), user.sha256);
      return same && user !== nobody ? { username, role: user.role } : undefined;
    },
    has: (username) => table.has(username),
    fingerprintOf(username) {
      const user = table.get(username);
      return user && `${user.role}:${user.sha256.toString('hex')}`;
    },
  };
}

const digest = (secret: string | Uint8Array) => createHash('sha256').update(secret).digest();

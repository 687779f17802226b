/**
 * The same plain data with bytes that have memory of their own, to be handed over: a view would take all that it looks at along,
 * and take it away from others. @param transfer is given that memory
 */
export function portable(value: unknown, transfer: Set<ArrayBuffer>): unknown {
  if (value instanceof Uint8Array) {
    const own = new Uint8Array(value);
    transfer.add(own.buffer);
    return own;
  }
  if (Array.isArray(value)) return value.map((one) => portable(one, transfer));
  if (typeof value !== 'object' || value === null || value instanceof Map) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, portable(one, transfer)]));
}

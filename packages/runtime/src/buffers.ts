import { setFlagsFromString } from 'node:v8';

/** The V8 of Node 24 has the flag; an older one would only complain. */
const NODE_MIN = 24;

/**
 * For processes through which frames pass, before anything else: network buffers count as part of the heap, so that the small
 * collections, which free most of them, come before they are many. V8 otherwise answers every 64 MiB of buffers, or less, with a full
 * collection on all cores: a third of the CPU of a gateway or broker that passes on frames of 49 KB. (A flag of V8, not of Node: it
 * changes when memory is freed, never what a program does.)
 */
export function collectBuffersEarly(): void {
  if (Number(process.versions.node.split('.', 1)[0]) >= NODE_MIN) {
    setFlagsFromString('--external-memory-accounted-in-global-limit');
  }
}

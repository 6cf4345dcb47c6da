import { open } from 'node:fs/promises';
import { Failure } from '@felhom/kernel/failure.ts';
import { largestEnvelopeBytes } from './payload.ts';

/** The bytes of an envelope; `-` is standard input. What is longer than an envelope may be is cut one byte past that. */
export async function readEnvelopeFile(path: string): Promise<Buffer> {
  try {
    const file = await open(path === '-' ? '/dev/stdin' : path, 'r');
    try {
      const bytes = Buffer.alloc(largestEnvelopeBytes + 1);
      let length = 0;
      for (;;) {
        const { bytesRead } = await file.read(bytes, length, bytes.length - length);
        length += bytesRead;
        if (bytesRead === 0 || length === bytes.length) return bytes.subarray(0, length);
      }
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw new Failure('usage', {
      message: `the operation cannot be read: ${cause instanceof Error ? cause.message : String(cause)}; nothing was done`,
      hint: 'Name the file that "operation sign --out FILE" wrote.',
      cause,
    });
  }
}

import { createConnection } from 'node:net';
import type { RootHelper } from './ports.ts';

const answerMs = 15_000;
const answerBytes = 1_024;

/**
 * The root helper behind its socket (packaging/root-helper): one line a connection. Without a socket every verb
 * answers false: then a person is told what to type.
 */
export function socketRootHelper(socket: string | undefined): RootHelper {
  return {
    unfreeze: async (vmid) => socket !== undefined && (await ask(socket, `unfreeze ${vmid}\n`)) === 'ok',
  };
}

/** The first line of the answer; rejects where nobody answers in time. */
function ask(path: string, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const connection = createConnection(path, () => connection.end(line));
    connection.setTimeout(answerMs, () => connection.destroy(new Error('the root helper does not answer')));
    connection.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      if (text.length > answerBytes) connection.destroy(new Error('the root helper answers too much'));
    });
    connection.on('error', reject);
    connection.on('close', () => resolve(text.split('\n')[0] ?? ''));
  });
}

import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceFile } from '@felhom/durable/replace-file.ts';
import type { CommandRunner } from '@felhom/kernel/command.ts';
import { Failure } from '@felhom/kernel/failure.ts';
import type { UnitsPort } from '../stacks/companions.ts';

const askMs = 5_000;
const startMs = 60_000;
const mostBytes = 64 * 1024;

/** Units by systemctl; files of companions lie in `unitDir` (/etc/systemd/system). */
export function systemdUnits({ commands, unitDir }: { commands: CommandRunner; unitDir: string }): UnitsPort {
  const systemctl = async (args: readonly string[], timeoutMs: number): Promise<string> => {
    const result = await commands.run('systemctl', args, { timeoutMs });
    if (result.exitCode === 0) return result.stdout;
    throw new Failure('operation_failed', {
      message: `systemctl ${args.join(' ')}: ${result.timedOut ? 'no answer in time' : result.stderr.trim() || (result.spawnError?.message ?? 'failed')}`,
      hint: `systemctl status ${args.at(-1) ?? ''}`,
    });
  };
  return {
    look: async (unit) => {
      const isInit = await access('/run/systemd/system').then(
        () => true,
        () => false,
      );
      if (!isInit) return null;
      const keys = 'LoadState,ActiveState,Type';
      const text = await systemctl(['show', '--property', keys, '--', unit], askMs);
      const value = (key: string): string => new RegExp(`^${key}=(.*)$`, 'm').exec(text)?.[1] ?? '';
      return {
        load: value('LoadState'),
        active: value('ActiveState'),
        type: value('Type'),
      };
    },
    read: async (file) => {
      const text = await readFile(file, 'utf8');
      if (text.length <= mostBytes) return text;
      throw new Failure('config_invalid', {
        message: `${file} is no unit: it has more than ${mostBytes} characters`,
        hint: 'Name the unit file under companions.',
      });
    },
    write: async (unit, text) => {
      const path = join(unitDir, unit);
      const isThere = await access(path).then(
        () => true,
        () => false,
      );
      // Systemd has not read it yet: it is somebody's, and only has to be read.
      if (!isThere) await replaceFile(path, text, { mode: 0o644 });
      await systemctl(['daemon-reload'], startMs);
    },
    start: async (unit) => void (await systemctl(['start', '--', unit], startMs)),
  };
}

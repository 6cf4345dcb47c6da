import type { CommandResult, CommandRunner } from '@felhom/kernel/command.ts';
import { composeEnvironment } from './compose.ts';
import type { ProjectFiles } from './stack-engine.ts';

/** The beginning of every call over a project's own files: nothing of where we stand leaks into it. */
export function projectArguments({ project, composeFiles, envFiles, workingDir }: ProjectFiles): string[] {
  return [
    'compose',
    ...['--ansi', 'never', '--progress', 'plain', '-p', project],
    ...(workingDir === null ? [] : ['--project-directory', workingDir]),
    ...composeFiles.flatMap((file) => ['-f', file]),
    ...envFiles.flatMap((file) => ['--env-file', file]),
  ];
}

export async function runCompose(
  commands: CommandRunner,
  at: { socketPath: string; workingDir: string | null },
  args: readonly string[],
  options: { timeoutMs: number; input?: string; inheritFds?: readonly number[]; maxOutputBytes?: number },
): Promise<CommandResult> {
  return await commands.run('docker', args, {
    cwd: '/',
    env: composeEnvironment(process.env, at),
    ...options,
  });
}

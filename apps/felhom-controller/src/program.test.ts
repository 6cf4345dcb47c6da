import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memoryOutput } from '@felhom/cli/output.ts';
import { runMain } from '@felhom/cli/run-main.ts';
import { afterAll, describe, expect, it } from 'vitest';
import { buildProgram } from './program.ts';

const folder = mkdtempSync(join(tmpdir(), 'felhom-program-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const fingerprint = `${'AB:'.repeat(31)}AB`;

function file(name: string, text: string, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, text, { mode });
  return path;
}

const token = file('token', 'a-token-of-a-test\n');
const openToken = file('open-token', 'a-token-of-a-test\n', 0o644);
const agents = `agents: [{ url: "https://127.0.0.1:9", fingerprint: "${fingerprint}" }]\nstate_dir: ${folder}/state\nrun_dir: ${folder}/run\n`;
const good = file('good.yaml', `${agents}token_file: ${token}\n`);
const wrongKey = file('wrong-key.yaml', `${agents}stacks:\n  web: { quiece: keep }\nbounds:\n  max_quiese: 1m\n`);
const readable = file('readable.yaml', `${agents}token_file: ${openToken}\n`);
const missingToken = file('missing-token.yaml', `${agents}token_file: ${folder}/no-token\n`);
const wrongValue = file('wrong-value.yaml', `${agents}bounds: { max_quiesce: soon }\n`);
const notYaml = file('not-yaml.yaml', 'agents: [\n');

async function run(line: string, env: NodeJS.ProcessEnv = {}) {
  const [stdout, stderr] = [memoryOutput(), memoryOutput()];
  const build = (setExit: (code: number) => void) => buildProgram({ setExit, env, stdout, stderr });
  const exit = await runMain({ argv: line === '' ? [] : line.split(' '), build, stdout, stderr });
  const clean = (text: string): string => text.replaceAll(folder, '/F');
  return { exit, stdout: clean(stdout.text()), stderr: clean(stderr.text()) };
}

const commands = [
  '',
  'backup',
  'backup now',
  'backup watch',
  'backup due',
  'backup status',
  'backup history',
  'backup show',
  'recover',
  'stack',
  'stack list',
  'stack show',
  'stack hold',
  'stack release',
  'reconcile',
  'alert',
  'alert list',
  'alert ack',
  'snapshot',
  'snapshot create',
  'snapshot list',
  'snapshot verify',
  'snapshot restore',
  'snapshot prune',
  'status',
  'config',
  'config check',
  'config show',
  'config schema',
];

describe('the help', () => {
  it('of every command is as kept in the transcript', async () => {
    const told: string[] = [];
    for (const command of commands) {
      const { exit, stdout, stderr } = await run(`${command} --help`.trim());
      expect([exit, stderr]).toEqual([0, '']);
      told.push(`$ felhom-controller ${command} --help`.replace('  ', ' '), stdout);
    }
    await expect(told.join('\n')).toMatchFileSnapshot('./transcripts/help.txt');
  });

  it('of every command that does something has an example', async () => {
    for (const command of commands.filter(
      (each) => !['', 'backup', 'stack', 'snapshot', 'alert', 'config'].includes(each),
    )) {
      expect((await run(`${command} --help`)).stdout).toContain(`Examples:\n  `);
    }
  });

  it('stands in for a group without its command, with exit code 2', async () => {
    const { exit, stdout, stderr } = await run('backup');
    expect([exit, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^Usage: felhom-controller backup/);
    expect(stderr).toContain('error: a command is missing\n  Usage: felhom-controller backup --help\n');
  });
});

const nowhere = `unix://${folder}/no-engine.sock`;

/** What a person types wrongly, or on a machine that is not ready. */
const mistakes: { line: string; exit: number; env?: NodeJS.ProcessEnv }[] = [
  { line: 'bakup', exit: 2 },
  { line: 'backup nwo', exit: 2 },
  { line: 'backup now --storrage pbs', exit: 2 },
  { line: 'backup now extra', exit: 2 },
  { line: 'backup history --limit none', exit: 2 },
  { line: 'stack show', exit: 2 },
  { line: `backup now --config ${folder}/none.yaml`, exit: 2 },
  { line: `config check --config ${folder}/none.yaml`, exit: 2 },
  { line: `backup now --config ${wrongKey}`, exit: 2 },
  { line: `backup due --config ${wrongValue}`, exit: 2 },
  { line: `config check --config ${notYaml}`, exit: 2 },
  { line: `backup now --config ${readable}`, exit: 2 },
  { line: `backup due --config ${missingToken}`, exit: 2 },
  { line: `backup due --config ${good}`, exit: 10 },
  { line: `backup show --config ${good}`, exit: 12 },
  { line: `backup show nope --config ${good}`, exit: 12 },
  { line: `backup status --config ${good}`, exit: 12 },
  { line: `alert ack zz --config ${good}`, exit: 12 },
  { line: `backup now --dry-run --config ${good}`, exit: 10, env: { DOCKER_HOST: nowhere } },
  { line: `stack list --config ${good}`, exit: 10, env: { DOCKER_HOST: 'tcp://127.0.0.1:2375' } },
  { line: `backup now --config ${good}`, exit: 10, env: { DOCKER_HOST: nowhere } },
];

describe('what goes wrong', () => {
  it('is told in words with what to type next, as kept in the transcript', async () => {
    const told: string[] = [];
    for (const { line, exit, env } of mistakes) {
      const ended = await run(line, env);
      expect([line, ended.exit, ended.stdout]).toEqual([line, exit, '']);
      expect(ended.stderr).toMatch(/^error: .+\n(?:\/.+\n)* {2}\S/);
      told.push(`$ felhom-controller ${line.replaceAll(folder, '/F')}\n${ended.stderr}exit ${ended.exit}\n`);
    }
    await expect(told.join('\n')).toMatchFileSnapshot('./transcripts/mistakes.txt');
  });

  it('is the same as one JSON object with --json, wherever that stands', async () => {
    for (const { line, exit, env } of mistakes) {
      for (const asked of [`--json ${line}`, `${line} --json`]) {
        const ended = await run(asked, env);
        expect([asked, ended.exit, ended.stderr]).toEqual([asked, exit, '']);
        expect(ended.stdout.trim().split('\n')).toHaveLength(1);
        const { schema, error } = JSON.parse(ended.stdout) as { schema: string; error: Record<string, string> };
        // A backup that did not come about has the shape of every other; a line that is no command has no shape of its own.
        const isBackup = line.startsWith('backup now --config');
        expect([asked, schema]).toEqual([asked, isBackup ? 'felhom.backup/1' : 'felhom.error/1']);
        expect(Object.keys(error)).toEqual(['code', 'message', 'hint']);
      }
    }
  });

  it('never holds the token', async () => {
    for (const { line, env } of mistakes) {
      const { stdout, stderr } = await run(line, env);
      expect(stdout + stderr).not.toContain('a-token-of-a-test');
    }
  });
});

describe('the configuration commands', () => {
  it('tell that a good file is good, and what is in force', async () => {
    const checked = await run(`config check --config ${good}`);
    expect(checked).toMatchObject({ exit: 0, stderr: '' });
    // The state of this test lies where no unit of systemd looks.
    expect(checked.stdout).toMatch(
      /^\/F\/good\.yaml: fine\nnote: .*\n.*\n.*\n {2}ConditionDirectoryNotEmpty=\/F\/state\/debts\n$/,
    );
    const usual = await run(`config check --config ${good} --state-dir /var/lib/felhom`);
    expect(usual.stdout).toBe('/F/good.yaml: fine\n');
    const shown = await run(`config show --config ${good} --json`);
    expect(JSON.parse(shown.stdout)).toMatchObject({
      schema: 'felhom.config/1',
      config: { bounds: { max_quiesce: '10m' } },
    });
  });

  it('print a JSON Schema with a description of every bound', async () => {
    const { exit, stdout } = await run('config schema');
    const described = JSON.parse(stdout) as {
      properties: { bounds: { properties: Record<string, { description?: string; default?: string }> } };
    };
    expect(exit).toBe(0);
    for (const [key, { description }] of Object.entries(described.properties.bounds.properties))
      expect([key, description]).toEqual([key, expect.any(String)]);
  });
});

import { parseDuration } from '@felhom/cli/quantity.ts';
import { InvalidArgumentError } from 'commander';
import type { CommandContext } from '../commands/context.ts';

/** What every group of commands is handed: the context is made when a command runs, after its flags are known. */
export type ContextOf = () => CommandContext;

export function example(text: string): string {
  return `\nExample:\n  ${text}`;
}

export function exits(codes: Readonly<Record<string, string>>): string {
  const lines = Object.entries(codes).map(([code, meaning]) => `  ${code.padEnd(9)}${meaning}`);
  return `\nExit codes:\n${lines.join('\n')}`;
}

export function oneVmid(text: string): number {
  if (/^[1-9]\d{2,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('A VMID is a whole number from 100 on.');
}

export function vmidList(text: string, before: number[] | undefined): number[] {
  return [...(before ?? []), oneVmid(text)];
}

/** Milliseconds of `30s`, `10m`, `1d`. */
export function duration(text: string): number {
  const ms = parseDuration(text);
  if (ms === undefined) throw new InvalidArgumentError('A duration is expected, such as 30s, 10m or 1d.');
  return ms;
}

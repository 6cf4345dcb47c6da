import { InvalidArgumentError } from 'commander';
import type { CommandContext } from '../commands/context.ts';

/** What every group of commands is handed: the context is made when a command runs, after its flags are known. */
export type ContextOf = () => CommandContext;

export function example(text: string): string {
  return `\nExample:\n  ${text}`;
}

export function oneVmid(text: string): number {
  if (/^[1-9]\d{2,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('A VMID is a whole number from 100 on.');
}

export function vmidList(text: string, before: number[] | undefined): number[] {
  return [...(before ?? []), oneVmid(text)];
}

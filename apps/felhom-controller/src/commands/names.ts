/** `paperless/gotenberg`: Compose repeats the project in a container's name, people do not. */
export function inStack(stack: string, container: string): string {
  const short = container.startsWith(`${stack}-`) ? container.slice(stack.length + 1).replace(/-1$/, '') : container;
  return short === stack || short === '' ? stack : `${stack}/${short}`;
}

/**
 * The whole environment of a thread or a child that inherits nothing: where Node keeps what it compiled, if anywhere. Without it
 * every start strips the types of all modules again, which is half of what starting a thread costs.
 * https://nodejs.org/docs/latest-v24.x/api/module.html#module-compile-cache
 */
export function onlyCompileCache(): { NODE_COMPILE_CACHE?: string } {
  // biome-ignore lint/style/noProcessEnv: what Node compiled already is no setting
  const { NODE_COMPILE_CACHE } = process.env;
  return NODE_COMPILE_CACHE === undefined ? {} : { NODE_COMPILE_CACHE };
}

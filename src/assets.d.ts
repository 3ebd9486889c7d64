// What `import x from './f.sql' with { type: 'text' | 'file' }` gives: a string in every case.
declare module '*.sql' {
  const text: string;
  export default text;
}
declare module '*.css' {
  const path: string;
  export default path;
}
declare module '*.png' {
  const path: string;
  export default path;
}
declare module '*/htmx.min.js' {
  const path: string;
  export default path;
}
declare module 'swagger-ui-dist/swagger-ui-bundle.js' {
  const path: string;
  export default path;
}
declare module '*/app.js' {
  const path: string;
  export default path;
}
declare module 'lightweight-charts/standalone.js' {
  const path: string;
  export default path;
}
declare module '*/chart.js' {
  const path: string;
  export default path;
}
declare module '*/swagger.js' {
  const path: string;
  export default path;
}

// The types of a dashboard as it lies in a file. Grafana's types say which word is meant with an enum, which a file cannot
// name; and they leave open what Prometheus is asked.
import type { AnnotationQuery, Dashboard, Panel, RowPanel } from '@grafana/schema';

type Plain<T> = unknown extends T
  ? unknown
  : T extends string
    ? `${T}`
    : T extends number | boolean | null | undefined
      ? T
      : T extends Array<infer Item>
        ? Array<Plain<Item>>
        : { [Key in keyof T]: Plain<T[Key]> };

interface Query {
  datasource: { type: 'prometheus'; uid: '${datasource}' };
  editorMode: 'code';
  expr: string;
  format?: 'heatmap';
  instant?: boolean;
  legendFormat: string;
  range?: boolean;
  refId: string;
}

interface Note extends Omit<AnnotationQuery, 'target'> {
  target: { expr: string; interval: string; refId: 'Anno' };
  textFormat: string;
  titleFormat: string;
}

interface Shown extends Omit<Panel, 'targets'> {
  targets: Query[];
}

interface Whole extends Omit<Dashboard, 'annotations' | 'panels'> {
  annotations: { list: Note[] };
  panels: Array<Shown | RowPanel>;
}

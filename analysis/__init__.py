"""From the journal of a study to tables, phase maps, atlases, figures and a report."""

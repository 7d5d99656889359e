from bench.tables import print_table


def test_on_a_pipe_tables_are_aligned_text(capsys):
    print_table("title", ["name", "n"], [["a", "1"], ["long name", "20"]])
    assert capsys.readouterr().out == "title\nname        n\na           1\nlong name  20\n\n"
